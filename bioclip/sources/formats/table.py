"""Tables of any provider with a map of their columns: CSV, TSV, Parquet, JSON, JSON lines, and plain lists of URLs.

`options.map` assigns columns to fields (`media_url=url,scientific_name=caption`), as img2dataset's `url_col` and
`caption_col` do; JSON members of members are `outer.inner`. Without a map, columns map to the fields of the same name. Without
`options.delimiter`, a first line that lacks the usual delimiter is divided at the one that it has; a `.txt` file whose first line has none
is a list of URLs, one per line. Values of `media_url` without a scheme are paths below `options.images`, with
or without a leading slash. `options.each` names a list in the rows of JSON or Parquet (`images`) of which every element is a record.
"""

from __future__ import annotations

import io
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from bioclip.delimited.content import open_content, suffix_of
from bioclip.delimited.damage import DamageLog
from bioclip.delimited.dialects import Dialect, guess_delimiter
from bioclip.delimited.headed import open_headed
from bioclip.delimited.headers import repeated_column
from bioclip.errors import ArchiveError, SettingsError
from bioclip.records import Record
from bioclip.settings import SourceSettings
from bioclip.sources.contract import Dropped, Noted, SourceFormat, damaged_media
from bioclip.sources.parsing.column_map import AnyColumns, ColumnMap, flatten
from bioclip.sources.parsing.defaults import MEDIA_OPTIONS, RIGHTS_OPTIONS, MediaBase
from bioclip.sources.parsing.json_stream import read_items, read_lines
from bioclip.sources.parsing.media_urls import is_address

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": ""}
_SUFFIXES = frozenset({*_DELIMITERS, ".parquet", ".json", ".jsonl", ".ndjson"})
_PARQUET_ROWS = 8192
_START_BYTES = 1 << 16

Rows = Generator[tuple[str, Mapping[str, str]]]


def read(source: SourceSettings) -> Iterator[Record | Dropped | Noted]:
    """Stream one record per row, of one file or of every table in a folder, in order of path; memory is one batch of rows."""
    base, path, log = MediaBase(source), Path(source.path), DamageLog(source.max_damaged_share)
    for file in sorted(p for p in path.rglob("*") if suffix_of(p) in _SUFFIXES) if path.is_dir() else [path]:
        columns = ColumnMap(source)
        with closing(_rows(file, source, columns, log)) as rows:
            for where, row in rows:
                yield from columns.records(row, base, where)
        yield from damaged_media(log)


FORMAT = SourceFormat(
    read, options=frozenset({"map", "each", "delimiter", "quote", "encoding"}) | MEDIA_OPTIONS | RIGHTS_OPTIONS, local_media=True
)


def table_rows(file: Path, source: SourceSettings) -> Iterator[Mapping[str, str]]:
    """The rows of a table by its own column names, before they are mapped."""
    with closing(_rows(file, source, AnyColumns(source), DamageLog(source.max_damaged_share))) as rows:
        for _, row in rows:
            yield row


def _rows(file: Path, source: SourceSettings, columns: ColumnMap, log: DamageLog) -> Rows:
    suffix = suffix_of(file)
    if suffix not in _SUFFIXES:
        raise ArchiveError(f"{str(file)!r}: {suffix!r} is not a table; known: {', '.join(sorted(_SUFFIXES))}, each also with .gz.")
    if suffix == ".parquet":
        yield from _parquet_rows(file, columns, source.options.get("each", ""))
        return
    with open_content(file, _SUFFIXES) as (where, stream):
        if suffix in _DELIMITERS:
            yield from _text_rows(stream, where, suffix, source.options, columns, log)
        else:
            yield from _json_rows(stream, where, suffix, columns, source.options.get("each", ""), log)


def _text_rows(stream: IO[bytes], where: str, suffix: str, options: Mapping[str, str], columns: ColumnMap, log: DamageLog) -> Rows:
    delimiter = options.get("delimiter", _DELIMITERS[suffix]).replace("\\t", "\t")
    with io.BufferedReader(stream, _START_BYTES) as peeked:  # type: ignore[type-var]
        if not delimiter and is_list(peeked.peek()[:_START_BYTES]):
            yield from _url_rows(cast("IO[bytes]", peeked), where, columns)
            return
        delimiter = delimiter or "\t"
        quote = options.get("quote", '"' if delimiter != "\t" else "")
        if len(delimiter) > 1 or len(quote) > 1:
            raise SettingsError(f"{where}: options.delimiter {delimiter!r} and options.quote {quote!r} must be one character each.")
        dialect = Dialect(delimiter, quote, options.get("encoding", "utf-8"), is_usual="delimiter" not in options)
        table = open_headed(cast("IO[bytes]", peeked), where, dialect, (), log)
        columns.check(table.header, f"{where}, line 1")
        for number, row in table.records():
            yield f"{where}, line {number}", row


def is_list(start: bytes) -> bool:
    """True for a text that begins with an address, or with a line that no delimiter divides."""
    dialect = Dialect("").adapted_to(start)
    first = next((line for line in start.decode(dialect.encoding, "ignore").splitlines() if line.strip()), "")
    return is_address(first.strip()) or guess_delimiter(first) not in first


def _url_rows(stream: IO[bytes], where: str, columns: ColumnMap) -> Rows:
    column = columns.column_of("media_url") or "url"
    columns.check([column], where)
    with io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            yield f"{where}, line {number}", {column: line.strip()}


def _json_rows(stream: IO[bytes], where: str, suffix: str, columns: ColumnMap, each: str, log: DamageLog) -> Rows:
    if suffix == ".json":
        items = ((f"{where}: {name or 'item '}[{index}]", item) for name, index, item in read_items(stream, where))
    else:
        items = ((f"{where}, line {number}", item) for number, item in read_lines(stream, where, log))
    for place, item in items:
        if not isinstance(item, dict):
            raise ArchiveError(f"{place}: an object is required, found {type(item).__name__}.")
        log.num_rows += 1
        for element in _elements(item, each):
            row = flatten(element)
            columns.see(row)
            yield place, row
    log.check()
    columns.check_seen(where)


def _parquet_rows(file: Path, columns: ColumnMap, each: str) -> Rows:
    number = 0
    try:
        with pq.ParquetFile(file) as table:
            if twice := repeated_column(table.schema_arrow.names):
                raise ArchiveError(f"{str(file)!r}: column {twice!r} occurs twice; rename one of the two.")
            columns.check(flatten(_empty(table.schema_arrow, each)), f"{str(file)!r}")
            for batch in table.iter_batches(batch_size=_PARQUET_ROWS):
                for item in _parquet_items(batch, file):
                    for element in _elements(item, each):
                        yield f"{file}, row {number}", flatten(element)
                    number += 1
    except (pa.ArrowException, OSError) as error:
        raise ArchiveError(f"{file}, row {number}: not readable as Parquet ({str(error).splitlines()[0]}); download it again.") from None


def _parquet_items(batch: pa.RecordBatch, file: Path) -> list[dict[str, Any]]:
    """The rows of a batch; values that Python cannot represent (invalid UTF-8, dates beyond the year 9999) as text."""
    try:
        return list(batch.to_pylist())
    except (ValueError, OverflowError):
        columns = [_parquet_values(column, name, file) for name, column in zip(batch.schema.names, batch.columns, strict=True)]
        return [dict(zip(batch.schema.names, values, strict=True)) for values in zip(*columns, strict=True)]


def _parquet_values(column: pa.Array, name: str, file: Path) -> list[Any]:
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError) as error:
        kind = pa.binary() if isinstance(error, UnicodeDecodeError) else pa.string()
        try:
            values = column.cast(kind).to_pylist()
        except pa.ArrowException:
            raise ArchiveError(f"{str(file)!r}: column {name!r} has values that cannot be read ({error}); write it as text.") from None
        return [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values]


def _elements(item: Mapping[str, Any], each: str) -> list[Mapping[str, Any]]:
    """The row once for each element of its list `each`; a row whose list is empty or absent gives one row."""
    elements = item.get(each) if each else None
    return [{**item, each: element} for element in elements] if isinstance(elements, list) and elements else [item]


def _empty(schema: Any, each: str = "") -> dict[str, Any]:
    row = {}
    for field in schema:
        is_list = any(is_kind(field.type) for is_kind in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))
        kind = field.type.value_type if field.name == each and is_list else field.type
        row[field.name] = _empty(kind) if pa.types.is_struct(kind) else ""
    return row
