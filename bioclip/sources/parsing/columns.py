"""Arrow columns of text as readers need them; a missing value is an empty string throughout."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc

from bioclip.delimited.text import valid_text
from bioclip.records import Record
from bioclip.schemas import RECORD_SCHEMA

_SPACE, _DELETE = 0x20, 0x7F
PROVIDED_SCHEMA = pa.schema([field for field in RECORD_SCHEMA if field.name not in {"record_id", "lineage_id"}])
"""RECORD_SCHEMA without the two ids, which the stage computes."""


def constant(value: str, num_rows: int) -> pa.Array:
    """A column of one string."""
    return pa.repeat(pa.scalar(value, pa.string()), num_rows)


def text(table: pa.Table, name: str) -> Any:
    """A column of strings without nulls; empty strings when the table has no such column."""
    if name not in table.column_names:
        return constant("", table.num_rows)
    return filled(table[name])


def filled(column: Any) -> Any:
    """The column with empty strings for nulls."""
    return pc.fill_null(column, "") if column.null_count else column


def is_empty(column: Any) -> Any:
    """Booleans: where a column of strings is empty."""
    return pc.equal(filled(column), "")


def first_of(*columns: Any) -> Any:
    """The first non-empty of the columns, row by row."""
    result = columns[-1]
    for column in reversed(columns[:-1]):
        result = pc.if_else(is_empty(column), result, column)
    return result


def per_distinct(column: Any, function: Callable[[str], Any], type_: pa.DataType) -> Any:
    """`function` of each value, called once for each distinct one."""
    encoded = pc.dictionary_encode(filled(column))
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    if isinstance(encoded, pa.ChunkedArray):
        encoded = pa.concat_arrays(encoded.chunks) if encoded.num_chunks else pa.array([], pa.string()).dictionary_encode()
    values = pa.array([function(value) for value in encoded.dictionary.to_pylist()], type_)
    return values.take(encoded.indices)


def degrees(column: Any, limit: float) -> Any:
    """Decimal degrees within +-limit, null for anything else."""
    given = pc.if_else(is_empty(column), None, column)
    try:
        values = pc.cast(given, pa.float64())
    except pa.ArrowInvalid:
        is_decimal = pc.match_substring_regex(given, _DECIMAL)
        others = per_distinct(pc.if_else(is_decimal, "", given), lambda value: parse_degrees(value, limit), pa.float64())
        values = pc.if_else(is_decimal, pc.cast(pc.if_else(is_decimal, given, None), pa.float64()), others)
    return pc.if_else(pc.less_equal(pc.abs(values), limit), values, None)


def parse_degrees(value: str, limit: float) -> float | None:
    """Decimal degrees within +-limit, or None for anything else.

    Decimal commas, degree signs, degrees with minutes and seconds, and the letters N, S, E, W and O (west in French and Spanish) are read.
    """
    try:
        number: float | None = float(value)
    except ValueError:
        number = _written_degrees(value)
    return number if number is not None and -limit <= number <= limit else None


_DECIMAL = r"^-?\d+(?:\.\d+)?$"
_DEGREES = re.compile(
    r"(?P<before>[NSEWO])?\s*(?P<sign>[-+]?)\s*(?P<degrees>\d{1,3}(?:\.\d+)?)\s*(?:[\u00b0\u00ba]|deg\.?)?\s*"
    r"(?:(?P<minutes>\d{1,2}(?:\.\d+)?)\s*['\u2032\u2019])?\s*(?:(?P<seconds>\d{1,2}(?:\.\d+)?)\s*(?:\"|\u2033|\u201d|''))?\s*(?P<after>[NSEWO])?",
    re.IGNORECASE,
)


def _written_degrees(value: str) -> float | None:
    text = value.strip().replace("\u2212", "-")
    found = _DEGREES.fullmatch(text.replace(",", ".") if "." not in text else text)
    if found is None or (found["before"] and found["after"]):
        return None
    parts = [float(found[name] or 0) for name in ("degrees", "minutes", "seconds")]
    if max(parts[1:]) >= 60:
        return None
    number = parts[0] + parts[1] / 60 + parts[2] / 3600
    side = (found["before"] or found["after"] or "").upper()
    return -number if (found["sign"] == "-") != (bool(side) and side in "SWO") else number


def unread_degrees(column: Any, parsed: Any) -> Any:
    """The texts of a column of coordinates that could not be parsed, empty elsewhere."""
    return pc.if_else(pc.is_null(parsed), filled(column), "")


def trimmed(column: Any) -> Any:
    """The column without white space around its values."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    return column if all(_is_trimmed(chunk) for chunk in chunks) else pc.utf8_trim_whitespace(column)


def _is_trimmed(values: pa.StringArray) -> bool:
    """True when every value begins and ends with a visible character of ASCII: the usual case, decided without scanning whole values."""
    if values.type != pa.string() or values.null_count:
        return False
    _, offset_buffer, data_buffer = values.buffers()
    if not len(values) or data_buffer is None or not data_buffer.size:
        return True
    offsets = np.frombuffer(offset_buffer, np.int32)[values.offset : values.offset + len(values) + 1]
    data = np.frombuffer(data_buffer, np.uint8)
    starts, ends = offsets[:-1], offsets[1:]
    is_filled = ends > starts
    if not is_filled.all():
        starts, ends = starts[is_filled], ends[is_filled]
    edges = data[starts], data[ends - 1]
    return all(bool(((edge > _SPACE) & (edge < _DELETE)).all()) for edge in edges)


def verbatim_map(table: pa.Table, terms: Iterable[str]) -> pa.Array:
    """map<term, value> of the non-empty columns, row by row, sorted by term."""
    names = sorted(term for term in terms if not _is_all_empty(table[term]))
    offsets = np.zeros(table.num_rows + 1, np.int32)
    if not names or not table.num_rows:
        empty = pa.array([], pa.string())
        return pa.MapArray.from_arrays(pa.array(offsets), empty, empty)
    columns = [filled(table[name]).combine_chunks() for name in names]
    is_said = np.stack([pc.not_equal(column, "").to_numpy(zero_copy_only=False) for column in columns], axis=1)
    np.cumsum(is_said.sum(axis=1), out=offsets[1:])
    rows, places = np.nonzero(is_said)
    values = pa.concat_arrays(columns).take(pa.array(places * table.num_rows + rows))
    return pa.MapArray.from_arrays(pa.array(offsets), pa.array(names).take(pa.array(places)), values)


def _is_all_empty(column: Any) -> bool:
    return not pc.max(pc.binary_length(column)).as_py()


def joined_maps(first: Any, second: Any) -> Any:
    """map<string, string> of the entries of both columns, row by row, sorted by key; the keys of a row are distinct."""
    chunks = second.chunks if isinstance(second, pa.ChunkedArray) else [second]
    if all(len(chunk) == 0 or chunk.offsets[0].as_py() == chunk.offsets[-1].as_py() for chunk in chunks):
        return first
    maps = [one.combine_chunks() if isinstance(one, pa.ChunkedArray) else one for one in (first, second)]
    sizes = [np.diff(one.offsets.to_numpy()) for one in maps]
    keys = pa.concat_arrays([_entries(one, one.keys) for one in maps])
    values = pa.concat_arrays([_entries(one, one.items) for one in maps])
    rows = np.concatenate([np.repeat(np.arange(len(size)), size) for size in sizes])
    order = pc.sort_indices(pa.table({"row": rows, "key": keys}), sort_keys=[("row", "ascending"), ("key", "ascending")])
    offsets = np.concatenate([[0], np.cumsum(sizes[0] + sizes[1])]).astype(np.int32)
    return pa.MapArray.from_arrays(pa.array(offsets), keys.take(order), values.take(order))


def _entries(maps: pa.MapArray, values: pa.Array) -> pa.Array:
    offsets = maps.offsets
    return values.slice(offsets[0].as_py(), offsets[-1].as_py() - offsets[0].as_py())


def complete_table(table: pa.Table, source_name: str, normalize: Callable[[str], str]) -> pa.Table:
    """PROVIDED_SCHEMA rows of a reader's table."""
    columns: dict[str, Any] = {}
    for field in PROVIDED_SCHEMA:
        if field.name in table.column_names:
            column = table[field.name]
            if column.type != field.type:
                column = column.cast(field.type)
            columns[field.name] = filled(column) if field.type == pa.string() else column
        else:
            columns[field.name] = _default(field, table.num_rows)
    columns["source"] = constant(source_name, table.num_rows)
    if "license" not in table.column_names:
        columns["license"] = per_distinct(columns["license_verbatim"], normalize, pa.string())
    return pa.table(columns, schema=PROVIDED_SCHEMA)


def _default(field: pa.Field, num_rows: int) -> pa.Array:
    if field.type == pa.string():
        return constant("", num_rows)
    if field.name == "media_index":
        return pa.array(np.zeros(num_rows, np.int32))
    if field.name == "verbatim":
        empty = pa.array([], pa.string())
        return pa.MapArray.from_arrays(pa.array(np.zeros(num_rows + 1, np.int32)), empty, empty)
    return pa.nulls(num_rows, field.type)


def table_records(table: pa.Table) -> Iterator[Record]:
    """Each row of a PROVIDED_SCHEMA table as a Record."""
    for row in table.to_pylist():
        yield Record(**{**row, "verbatim": dict(row["verbatim"] or ())})


def records_columns(records: list[Record]) -> pa.Table:
    """PROVIDED_SCHEMA table of Records, in the order given."""
    columns: dict[str, list[Any]] = {}
    for name in PROVIDED_SCHEMA.names:
        values = [getattr(record, name) for record in records]
        columns[name] = [sorted(value.items()) for value in values] if name == "verbatim" else values
    return _text_table(columns, PROVIDED_SCHEMA)


def records_table(records: Iterable[Record]) -> pa.Table:
    """RECORD_SCHEMA table of `records`, in the order given."""
    columns: dict[str, list[Any]] = {name: [] for name in RECORD_SCHEMA.names}
    names = [f.name for f in fields(Record) if f.name != "verbatim"]
    for record in records:
        columns["record_id"].append(record.id)
        columns["lineage_id"].append(record.lineage_id)
        for name in names:
            columns[name].append(getattr(record, name))
        columns["verbatim"].append(sorted(record.verbatim.items()))
    return _text_table(columns, RECORD_SCHEMA)


def _text_table(columns: dict[str, list[Any]], schema: pa.Schema) -> pa.Table:
    """The columns as an Arrow table; invalid text is replaced."""
    try:
        return pa.table(columns, schema=schema)
    except UnicodeEncodeError:
        return pa.table({name: _valid(values) for name, values in columns.items()}, schema=schema)


def _valid(value: Any) -> Any:
    """The value with U+FFFD for characters that UTF-8 cannot encode."""
    if isinstance(value, list | tuple):
        return type(value)(map(_valid, value))
    return valid_text(value) if isinstance(value, str) else value
