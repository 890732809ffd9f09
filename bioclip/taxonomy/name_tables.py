"""Input and output tables of `treeoflife names resolve`: names and decisions, read and written in batches of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from bioclip.delimited.dialects import Dialect
from bioclip.delimited.headers import find_column, repeated_column
from bioclip.delimited.reading import Column, DelimitedTable
from bioclip.errors import ArchiveError, UsageError
from bioclip.records import RANKS
from bioclip.taxonomy.matching.decision_table import LINEAGE_COLUMNS
from bioclip.taxonomy.matching.decisions import MatchType

INPUT_COLUMNS = (
    "id", "scientific_name", "authorship", "rank", "code", "kingdom", "phylum", "class", "order", "family", "genus", "species",
    "vernacular_name",
)  # fmt: skip
"""Columns of a table of names; at least one column with a name is required."""
_NAME_COLUMNS = ("scientific_name", *RANKS)
_FIELDS = {
    "scientific_name": "scientific_name", "authorship": "scientific_name_authorship", "rank": "taxon_rank", "kingdom": "kingdom",
    "phylum": "phylum", "class": "class_", "order": "order", "family": "family", "genus": "genus", "species": "specific_epithet",
    "vernacular_name": "vernacular_name",
}  # fmt: skip
_CODES = {
    "iczn": "zoological", "zoological": "zoological", "icn": "botanical", "icnafp": "botanical", "botanical": "botanical",
    "icnp": "bacterial", "bacterial": "bacterial", "prokaryotic": "bacterial", "ictv": "viral", "virus": "viral", "viral": "viral",
}  # fmt: skip
"""Spellings of nomenclatural codes -> those of `scoring.CODES`."""
_SEPARATOR = "\x1f"
_BATCH_ROWS = 262_144
RESULT_COLUMNS = (
    "id", "canonical_name", "match_type", "confidence", "margin", "reason", "matched_id", "matched_name", "accepted_id",
    "accepted_name", "resolved_rank", *RANKS, "infraspecific", "qualifier", "vernacular_name", "backbone", "backbone_digest",
    "rank_sources", "contradicts", "curation",
)  # fmt: skip
"""Columns written after the input's columns, which get the prefix `verbatim_`."""


class NameTable:
    """A .csv, .tsv or .parquet of names, read in batches: columns as text, null for empty. Raises UsageError if it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise UsageError(f"{str(path)!r} does not exist; name a .csv, .tsv or .parquet of names.")
        with self._explained():
            self.columns = list(self._open_parquet().schema_arrow.names if self._is_parquet else self._header())
        self.fields = _matched(self.columns)
        """Name of an input column (INPUT_COLUMNS) -> the table's own column."""
        if not self.fields.keys() & set(_NAME_COLUMNS):
            known = ", ".join(INPUT_COLUMNS)
            raise UsageError(f"{str(path)!r} has no column of names among {', '.join(self.columns[:12])}; known: {known}.")
        if twice := repeated_column(self.columns):
            raise UsageError(f"{str(path)!r} has two columns {twice!r}; name each column once.")

    def batches(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The rows in order, all columns or those named."""
        wanted = self.columns if columns is None else columns
        with self._explained():
            if self._is_parquet:
                found: Iterator[Any] = self._open_parquet().iter_batches(_BATCH_ROWS, columns=wanted)
            else:
                found = self._read_text(wanted)
            for batch in found:
                yield pa.table({name: batch.column(name).cast(pa.string()) for name in wanted})

    @property
    def _is_parquet(self) -> bool:
        return self.path.suffix.lower() == ".parquet"

    def _open_parquet(self) -> pq.ParquetFile:
        return pq.ParquetFile(self.path)

    @contextmanager
    def _open_text(self) -> Iterator[DelimitedTable]:
        with self.path.open("rb") as stream:
            yield DelimitedTable(stream, str(self.path), Dialect("," if self.path.suffix.lower() == ".csv" else "\t"))

    def _header(self) -> list[str]:
        with self._open_text() as table:
            return table.header

    def _read_text(self, columns: list[str]) -> Iterator[pa.Table]:
        with self._open_text() as table:
            for batch in table.tables({name: Column(self.columns.index(name)) for name in columns}):
                yield pa.table({name: pc.if_else(pc.equal(batch[name], ""), None, batch[name]) for name in columns})

    def _explained(self) -> _Explained:
        return _Explained(self.path)


class _Explained:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, ArchiveError):
            raise UsageError(str(error)) from None
        if isinstance(error, pa.ArrowException):
            raise UsageError(f"{str(self._path)!r} cannot be read as a table: {' '.join(str(error).split())}.") from None


def distinct_lineages(names: NameTable) -> tuple[list[pa.Table], list[npt.NDArray[np.int32]]]:
    """The distinct verbatim lineages (LINEAGE_COLUMNS, sorted, in parts), and for each batch of rows which of them each row has.

    A nomenclatural code replaces a missing kingdom.
    """
    fields = {field: column for field, column in names.fields.items() if field != "id"}
    batches = (batch.rename_columns(list(fields)) for batch in names.batches(list(fields.values())))
    encoded = [_joined(batch).dictionary_encode() for batch in batches]
    if not encoded:
        return [], []
    unified = pa.chunked_array(encoded).unify_dictionaries()
    distinct = unified.chunk(0).dictionary
    order = pc.sort_indices(distinct)  # sorted, so that matching finds the names of a genus in one block of a backbone
    place = np.empty(len(order), np.int32)
    place[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
    distinct, codes = distinct.take(order), [place[chunk.indices.to_numpy()] for chunk in unified.chunks]
    parts = [_split(distinct[start : start + _BATCH_ROWS].cast(pa.string())) for start in range(0, len(distinct), _BATCH_ROWS)]
    return parts, codes


def _matched(columns: Sequence[str]) -> dict[str, str]:
    """Input columns by their own names, else by the spellings of `bioclip.delimited.headers` (`scientificName`, `taxonRank`)."""
    matched = {name: name for name in INPUT_COLUMNS if name in columns}
    for name, field in _FIELDS.items():
        others = [column for column in columns if column not in matched.values()]
        if name not in matched and (column := find_column(others, field.rstrip("_"))):
            matched[name] = column
    return {name: matched[name] for name in INPUT_COLUMNS if name in matched}


def _joined(batch: pa.Table) -> pa.Array:
    """One string per row, of all fields of a lineage."""
    there = {_FIELDS[name]: batch[name].combine_chunks() for name in batch.column_names if name in _FIELDS}
    empty = pa.repeat(pa.scalar(""), batch.num_rows)
    fields = {name: pc.utf8_trim_whitespace(pc.fill_null(there[name], "")) if name in there else empty for name in LINEAGE_COLUMNS}
    if "code" in batch.column_names:
        fields["kingdom"] = pc.if_else(pc.equal(fields["kingdom"], ""), _codes(batch["code"].combine_chunks()), fields["kingdom"])
    cleaned = [pc.replace_substring(field, _SEPARATOR, " ") for field in fields.values()]
    return pc.binary_join_element_wise(*(field.cast(pa.large_string()) for field in cleaned), pa.scalar(_SEPARATOR, pa.large_string()))


def _codes(column: pa.Array) -> pa.Array:
    encoded = pc.fill_null(column, "").dictionary_encode()
    return pa.array([_CODES.get(text.strip().lower(), "") for text in encoded.dictionary.to_pylist()], pa.string()).take(encoded.indices)


def _split(joined: pa.Array) -> pa.Table:
    values, width = pc.list_flatten(pc.split_pattern(joined, _SEPARATOR)), len(LINEAGE_COLUMNS)
    starts = np.arange(len(joined)) * width
    return pa.table({name: values.take(pa.array(starts + place)) for place, name in enumerate(LINEAGE_COLUMNS)})


def decisions_table(names: pa.Table, first_row: int, decisions: pa.Table, digests: Mapping[str, str]) -> pa.Table:
    """A batch's columns as `verbatim_*`, then RESULT_COLUMNS of its decisions (DECISION_SCHEMA); rows without `id` are numbered from 1."""
    columns: dict[str, Any] = {f"verbatim_{name}": names[name] for name in names.column_names}
    numbers = pa.array(np.arange(first_row, first_row + names.num_rows) + 1).cast(pa.string())
    found = {name: decisions[name] for name in decisions.column_names} | {"id": names["id"] if "id" in names.column_names else numbers}
    found["vernacular_name"] = decisions["common_name"]
    found["reason"] = pc.if_else(pc.equal(decisions["reason"], ""), _translated(decisions["match_type"], _REASONS), decisions["reason"])
    found["backbone_digest"] = _translated(decisions["backbone"], digests)
    return pa.table(columns | {name: found[name] for name in RESULT_COLUMNS})


_REASONS = {MatchType.EXACT.value: "same_name", MatchType.NORMALIZED.value: "same_name_spelt_otherwise"}


def _translated(column: pa.ChunkedArray, texts: Mapping[str, str]) -> pa.Array:
    encoded = column.combine_chunks().dictionary_encode()
    return pa.array([texts.get(text, "") for text in encoded.dictionary.to_pylist()], pa.string()).take(encoded.indices)


class TableWriter:
    """A .parquet, .csv or .tsv that is written atomically; raises UsageError for another suffix."""

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() not in {".parquet", ".csv", ".tsv"}:
            raise UsageError(f"--output {str(path)!r} has an unknown suffix; use .parquet, .csv or .tsv.")
        self._path, self._partial = path, path.with_name(f".{path.name}.partial")
        self._stack = ExitStack()
        self._writer: Any = None

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return self

    def write(self, table: pa.Table) -> None:
        """Append rows; all tables have the columns of the first."""
        if self._writer is None:
            self._writer = self._stack.enter_context(self._open(table.schema))
        self._writer.write_table(table)

    def _open(self, schema: pa.Schema) -> Any:
        if self._path.suffix.lower() == ".parquet":
            return pq.ParquetWriter(self._partial, schema, compression="zstd")
        delimiter = "," if self._path.suffix.lower() == ".csv" else "\t"
        return pacsv.CSVWriter(self._partial, schema, write_options=pacsv.WriteOptions(delimiter=delimiter, quoting_style="needed"))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._stack.close()
            if error is None and self._writer is not None:
                self._partial.replace(self._path)
        finally:
            self._partial.unlink(missing_ok=True)
