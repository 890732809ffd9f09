"""Reads Parquet files in batches, so that memory does not grow with the file."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip.storage import Storage

BATCH_ROWS = 16_384


def read_batches(storage: Storage, name: str, columns: list[str], batch_rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
    """The given columns of a Parquet file, in its order; raises StorageError when it cannot be read."""
    with storage.reader(name) as stream:
        yield from pq.ParquetFile(stream, pre_buffer=False).iter_batches(batch_size=batch_rows, columns=columns)


def read_rows(storage: Storage, name: str, columns: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file as plain values, in its order."""
    for batch in read_batches(storage, name, columns):
        yield from batch.to_pylist()


def read_matching(storage: Storage, name: str, columns: list[str], key: str, wanted: Collection[str]) -> Iterator[dict[str, Any]]:
    """Rows whose `key` is one of `wanted`, in the file's order; row groups whose key range excludes all of `wanted` are not read."""
    values, ordered = pa.array(sorted(wanted), pa.string()), sorted(wanted)
    with storage.reader(name) as stream:
        file = pq.ParquetFile(stream, pre_buffer=False)
        place = file.schema_arrow.names.index(key)
        for group in range(file.num_row_groups) if ordered else ():
            if not _may_hold(file.metadata.row_group(group).column(place).statistics, ordered):
                continue
            present = pc.is_in(file.read_row_group(group, columns=[key])[key], value_set=values)
            if pc.any(present).as_py():
                yield from file.read_row_group(group, columns=columns).filter(present).to_pylist()


def _may_hold(statistics: pq.Statistics | None, ordered: list[str]) -> bool:
    if statistics is None or not statistics.has_min_max:
        return True
    return any(statistics.min <= value <= statistics.max for value in ordered)
