"""Parquet tables that are too large to hold: batch by batch, a range of their sorted key, or the rows that have one of some values.

What lies in memory is a batch or a row group, whatever the size of the file. All is read and decoded in the calling thread: a thread of
Arrow's pool that lets go of a Python stream's bytes while the interpreter ends may abort the process.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip.storage import Storage

BATCH_ROWS = 65_536
_KEY = "record_id"


def read_batches(storage: Storage, name: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The table's `columns`, in this order, at most BATCH_ROWS rows at a time."""
    with storage.reader(name) as stream:
        for batch in pq.ParquetFile(stream, pre_buffer=False).iter_batches(BATCH_ROWS, columns=list(columns), use_threads=False):
            yield pa.Table.from_batches([batch]).select(list(columns))


@dataclass
class SortedTable:
    """An open file that is sorted by record id, of which ranges are read; the last row groups read are kept, for the next range."""

    file: pq.ParquetFile
    columns: tuple[str, ...]
    _extents: list[tuple[str, str]] = field(default_factory=list)
    _groups: dict[int, pa.Table] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._extents = _extents(self.file, _KEY)

    @property
    def num_rows(self) -> int:
        """Rows of the whole file."""
        return int(self.file.metadata.num_rows)

    def between(self, first: str, following: str) -> pa.Table:
        """Rows with first <= record id < following, `columns` and the record id."""
        wanted = [index for index, (least, most) in enumerate(self._extents) if least < following and most >= first]
        self._groups = {index: self._groups[index] if index in self._groups else self._read(index) for index in wanted}
        parts = [_cut(self._groups[index], first, following) for index in wanted]
        return pa.concat_tables(parts) if parts else self.file.schema_arrow.empty_table().select(self._names)

    @property
    def _names(self) -> list[str]:
        return [_KEY, *(name for name in self.columns if name != _KEY)]

    def _read(self, index: int) -> pa.Table:
        return self.file.read_row_group(index, columns=self._names, use_threads=False).select(self._names)


@contextmanager
def open_sorted(storage: Storage, name: str, columns: Collection[str]) -> Iterator[SortedTable]:
    """A file that is sorted by record id, for ranges of its `columns`."""
    with storage.reader(name) as stream:
        yield SortedTable(pq.ParquetFile(stream, pre_buffer=False), tuple(columns))


def rows_with(storage: Storage, name: str, column: str, values: Collection[str], columns: Sequence[str] | None = None) -> pa.Table:
    """Rows whose text `column` has one of `values`; row groups that cannot hold one, by their statistics, are not read."""
    wanted = pa.array(sorted(set(values)), pa.string())
    least, most = (min(values), max(values)) if values else ("", "")
    with storage.reader(name) as stream:
        file = pq.ParquetFile(stream, pre_buffer=False)
        names = list(columns) if columns is not None else file.schema_arrow.names
        found = [file.schema_arrow.empty_table().select(names)]
        possible = [index for index, (first, last) in enumerate(_extents(file, column)) if values and least <= last and most >= first]
        for groups in _runs(file, possible):
            mask = pc.is_in(file.read_row_groups(groups, columns=[column], use_threads=False)[column], value_set=wanted).combine_chunks()
            start = 0
            for group in groups if mask.true_count else ():
                own = mask.slice(start, file.metadata.row_group(group).num_rows)
                start += len(own)
                if own.true_count:
                    found.append(file.read_row_group(group, columns=names, use_threads=False).select(names).filter(own))
    return pa.concat_tables(found)


def _runs(file: pq.ParquetFile, groups: Sequence[int]) -> Iterator[list[int]]:
    """Row groups, as many at a time as have BATCH_ROWS rows: small ones are read faster together."""
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


def _cut(rows: pa.Table, first: str, following: str) -> pa.Table:
    return rows.filter(pc.and_(pc.greater_equal(rows[_KEY], first), pc.less(rows[_KEY], following)))


def _extents(file: pq.ParquetFile, column: str) -> list[tuple[str, str]]:
    """Least and greatest value of each row group; all that text can be where the file does not say."""
    metadata = file.metadata
    place = next(index for index in range(metadata.num_columns) if metadata.schema.column(index).path == column)
    extents = []
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(place).statistics
        is_stated = statistics is not None and statistics.has_min_max
        extents.append((str(statistics.min), str(statistics.max)) if is_stated else ("", chr(0x10FFFF)))
    return extents
