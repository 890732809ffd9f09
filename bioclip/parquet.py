"""Reading and writing Parquet tables of any size: by batches, by rows, by ranges of the record id, and by values of a column.

Memory holds a batch or a row group. Everything is read and decoded in the calling thread: a thread of Arrow's pool that releases the bytes
of a Python stream while the interpreter exits may abort the process.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip.storage import Storage

PARQUET_OPTIONS: dict[str, Any] = {"compression": "zstd", "write_statistics": True, "store_schema": True}
"""How every table of a workspace is written."""
BATCH_ROWS = 65_536
_ROWS_AT_ONCE = 16_384
"""Rows that are plain Python values at one time."""
_KEY = "record_id"


@contextmanager
def open_table(storage: Storage, name: str) -> Iterator[pq.ParquetFile]:
    """A Parquet file for reads in the calling thread; pass `use_threads=False` to each of them."""
    with storage.reader(name) as stream:
        yield pq.ParquetFile(stream, pre_buffer=False)


def open_writer(stream: IO[bytes], schema: pa.Schema) -> pq.ParquetWriter:
    """A writer of a table that is passed to it in parts; each part becomes a row group."""
    return pq.ParquetWriter(stream, schema, **PARQUET_OPTIONS)


def write_table(stream: IO[bytes], table: pa.Table, row_group_rows: int | None = None) -> None:
    """Write a whole table in row groups of `row_group_rows` (None: Arrow's default, about a million)."""
    pq.write_table(table, stream, row_group_size=row_group_rows, **PARQUET_OPTIONS)


def table_bytes(table: pa.Table) -> bytes:
    """A whole table that fits in memory, as the content of its file."""
    sink = pa.BufferOutputStream()
    write_table(sink, table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def read_batches(storage: Storage, name: str, columns: Sequence[str], batch_rows: int | None = None) -> Iterator[pa.Table]:
    """The table's `columns`, in this order, in tables of at most `batch_rows` rows (None: BATCH_ROWS)."""
    with open_table(storage, name) as file:
        for batch in file.iter_batches(batch_rows or BATCH_ROWS, columns=list(columns), use_threads=False):
            yield pa.Table.from_batches([batch]).select(list(columns))


def read_known_columns(storage: Storage, name: str, schema: pa.Schema, batch_rows: int | None = None) -> Iterator[pa.Table]:
    """The columns of `schema`, as `read_batches` gives them; those that a table of an earlier version lacks are null."""
    with open_table(storage, name) as file:
        there = [column for column in schema.names if column in file.schema_arrow.names]
    for table in read_batches(storage, name, there, batch_rows):
        columns = [table[field.name] if field.name in there else pa.nulls(table.num_rows, field.type) for field in schema]
        yield pa.table(columns, schema=schema)


def read_rows(storage: Storage, name: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The table's rows in order, as plain values of `columns`."""
    for batch in read_batches(storage, name, columns, _ROWS_AT_ONCE):
        yield from batch.to_pylist()


def read_matching_rows(storage: Storage, name: str, column: str, values: Collection[str], columns: Sequence[str] | None = None) -> pa.Table:
    """Rows whose text `column` has one of `values`; row groups that cannot hold one, by their statistics, are not read."""
    ordered = sorted(set(values))
    wanted = pa.array(ordered, pa.string())
    with open_table(storage, name) as file:
        names = list(columns) if columns is not None else file.schema_arrow.names
        found = [file.schema_arrow.empty_table().select(names)]
        possible = [index for index, (first, last) in enumerate(_extents(file, column)) if _has_value_between(ordered, first, last)]
        for groups in _joint_groups(file, possible):
            mask = pc.is_in(file.read_row_groups(groups, columns=[column], use_threads=False)[column], value_set=wanted).combine_chunks()
            start = 0
            for group in groups if mask.true_count else ():
                own = mask.slice(start, file.metadata.row_group(group).num_rows)
                start += len(own)
                if own.true_count:
                    found.append(file.read_row_group(group, columns=names, use_threads=False).select(names).filter(own))
    return pa.concat_tables(found)


@dataclass
class SortedTable:
    """An open table that is sorted by record id, read in ranges of it; the row groups of the last range are kept for the next one."""

    file: pq.ParquetFile
    columns: tuple[str, ...]
    _extents: list[tuple[str, str]] = field(default_factory=list)
    _groups: dict[int, pa.Table] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._extents = _extents(self.file, _KEY)

    @property
    def num_rows(self) -> int:
        """Rows of the whole table."""
        return int(self.file.metadata.num_rows)

    def between(self, first: str, stop: str) -> pa.Table:
        """Rows with first <= record id < stop: the record id and `columns`."""
        wanted = [index for index, (least, greatest) in enumerate(self._extents) if least < stop and greatest >= first]
        self._groups = {index: self._groups[index] if index in self._groups else self._read(index) for index in wanted}
        parts = [_rows_between(self._groups[index], first, stop) for index in wanted]
        return pa.concat_tables(parts) if parts else self.file.schema_arrow.empty_table().select(self._names)

    @property
    def _names(self) -> list[str]:
        return [_KEY, *(name for name in self.columns if name != _KEY)]

    def _read(self, index: int) -> pa.Table:
        return self.file.read_row_group(index, columns=self._names, use_threads=False).select(self._names)


@contextmanager
def open_sorted(storage: Storage, name: str, columns: Collection[str]) -> Iterator[SortedTable]:
    """A table that is sorted by record id, to read ranges of its `columns`."""
    with open_table(storage, name) as file:
        yield SortedTable(file, tuple(columns))


def _joint_groups(file: pq.ParquetFile, groups: Sequence[int]) -> Iterator[list[int]]:
    """Row groups in runs of at most BATCH_ROWS rows: small ones are read faster together."""
    run: list[int] = []
    num_rows = 0
    for group in groups:
        own = file.metadata.row_group(group).num_rows
        if run and num_rows + own > BATCH_ROWS:
            yield run
            run, num_rows = [], 0
        run.append(group)
        num_rows += own
    if run:
        yield run


def _rows_between(rows: pa.Table, first: str, stop: str) -> pa.Table:
    return rows.filter(pc.and_(pc.greater_equal(rows[_KEY], first), pc.less(rows[_KEY], stop)))


def _has_value_between(ordered: Sequence[str], first: str, last: str) -> bool:
    place = bisect_left(ordered, first)
    return place < len(ordered) and ordered[place] <= last


def _extents(file: pq.ParquetFile, column: str) -> list[tuple[str, str]]:
    """Least and greatest value of each row group; the widest range of text where the file has no statistics."""
    metadata = file.metadata
    place = next(index for index in range(metadata.num_columns) if metadata.schema.column(index).path == column)
    extents = []
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(place).statistics
        is_stated = statistics is not None and statistics.has_min_max
        extents.append((str(statistics.min), str(statistics.max)) if is_stated else ("", chr(0x10FFFF)))
    return extents
