"""Rows partitioned into buckets, in memory up to a limit and on disk beyond it.

Rows are buffered until they reach `buffer_bytes`; then they are sorted by bucket (stably) and written as one
run: an Arrow IPC file with one record batch per bucket. Reading a bucket takes its batch of every run, so memory holds one buffer while
writing and one bucket while reading, and the number of files does not grow with the number of buckets.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bioclip.errors import StorageError
from bioclip.storage import explain_os_error

DEFAULT_BUFFER_BYTES = 48 << 20
_MAX_OPEN_RUNS = 128
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)


class Spill:
    """Rows by bucket. Add tables of one schema, call `finish`, then read buckets, any number of times."""

    def __init__(self, folder: Path, num_buckets: int, buffer_bytes: int = DEFAULT_BUFFER_BYTES) -> None:
        self._folder, self.num_buckets, self._buffer_bytes = folder, num_buckets, buffer_bytes
        self._tables: list[pa.Table] = []
        self._buckets: list[np.ndarray] = []
        self._num_bytes = 0
        self._runs: list[dict[int, int]] = []
        self._open: OrderedDict[int, Any] = OrderedDict()
        self._order: np.ndarray | None = None

    @property
    def is_on_disk(self) -> bool:
        """True once a run has been written."""
        return bool(self._runs)

    def add(self, table: pa.Table, buckets: np.ndarray) -> None:
        """Add rows with the bucket of each, int in [0, num_buckets)."""
        if not table.num_rows:
            return
        self._tables.append(table)
        self._buckets.append(buckets.astype(np.int32))
        self._num_bytes += table.nbytes
        if self._num_bytes >= self._buffer_bytes:
            self._flush()

    def finish(self) -> None:
        """Finish adding rows; if any run was written, write the buffered rows too."""
        if self._runs and self._tables:
            self._flush()

    def buffered(self) -> Iterator[pa.Table]:
        """The rows of a spill without runs on disk, in input order."""
        yield from self._tables

    def read(self, bucket: int) -> pa.Table | None:
        """The rows of one bucket in input order, or None."""
        if not self._runs:
            return self._read_buffered(bucket)
        found = [self._reader(run).get_batch(batches[bucket]) for run, batches in enumerate(self._runs) if bucket in batches]
        return pa.Table.from_batches(found) if found else None

    def _read_buffered(self, bucket: int) -> pa.Table | None:
        if not self._tables:
            return None
        if self._order is None:
            table, self._order = self._sorted()
            self._tables = [table]
        start, stop = self._order[bucket : bucket + 2]
        return self._tables[0].slice(start, stop - start) if stop > start else None

    def _sorted(self) -> tuple[pa.Table, np.ndarray]:
        """(all buffered rows by bucket, where each bucket starts)."""
        buckets = np.concatenate(self._buckets)
        order = np.argsort(buckets, kind="stable")
        whole = pa.concat_tables(self._tables).combine_chunks()
        self._tables, self._buckets, self._num_bytes = [], [], 0
        return whole.take(pa.array(order)).combine_chunks(), np.searchsorted(buckets[order], np.arange(self.num_buckets + 1))

    def _flush(self) -> None:
        table, bounds = self._sorted()
        batches: dict[int, int] = {}
        path = self._folder / f"run-{len(self._runs):05d}.arrow"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema, options=_OPTIONS) as writer:
                for bucket in np.flatnonzero(np.diff(bounds)):
                    [batch] = table.slice(bounds[bucket], bounds[bucket + 1] - bounds[bucket]).to_batches()
                    batches[int(bucket)] = len(batches)
                    writer.write_batch(batch)
        except OSError as error:
            raise StorageError(explain_os_error(error, str(path))) from error
        self._runs.append(batches)

    def _reader(self, run: int) -> Any:
        if run in self._open:
            self._open.move_to_end(run)
            return self._open[run]
        if len(self._open) >= _MAX_OPEN_RUNS:
            self._open.popitem(last=False)
        reader = self._open[run] = pa.ipc.open_file(pa.OSFile(str(self._folder / f"run-{run:05d}.arrow"), "rb"))
        return reader

    def close(self) -> None:
        """Release the buffer and the files."""
        self._open.clear()
        self._tables, self._buckets = [], []
        for run in range(len(self._runs)):
            (self._folder / f"run-{run:05d}.arrow").unlink(missing_ok=True)
