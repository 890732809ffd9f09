"""The state of an unfinished partition: durable chunks while it is downloaded, and the merge that completes it.

Outcomes are appended in order of arrival, in chunk files (CHUNK_SCHEMA: the ledger's columns, and the image's where there is one) that are
complete or absent, each sorted by record id. A killed worker loses the outcomes that were not yet in a chunk. When nothing is missing, the
chunks and the partition's earlier file are merged by record id into the images file, a row group at a time, so memory is bounded by
one row group a file. The result depends only on the rows, not on their order of arrival or their chunks.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip.digests import digest_value
from bioclip.download.outcomes import LEDGER_SCHEMA, SUCCESS
from bioclip.parquet import PARQUET_OPTIONS
from bioclip.schemas import IMAGE_SCHEMA
from bioclip.storage import Storage

SETTINGS_KEY = b"treeoflife.image_settings"
_IMAGE_FIELDS = [field.with_nullable(True) for field in IMAGE_SCHEMA if field.name != "record_id"]
CHUNK_SCHEMA = pa.schema([*LEDGER_SCHEMA, *_IMAGE_FIELDS])
_NULLABLE = pa.schema([field.with_nullable(True) for field in IMAGE_SCHEMA])
_PLAIN = [name for name in CHUNK_SCHEMA.names if name != "image"]
ROW_GROUP_ROWS = 256
_ROW_GROUP_BYTES = 8 << 20
_CHUNK_ROW_GROUP_BYTES = 2 << 20
_CHUNK_BYTES = 32 << 20
_MOST_CHUNK_BYTES = 1 << 30
"""Arrow counts the bytes of a binary column in 31 bits."""
_CHUNK_AGE_S = 30.0


def image_options(names: Iterable[str]) -> dict[str, Any]:
    """Parquet options for a table with encoded images: these are stored unchanged, since compressing or indexing them gains nothing."""
    plain = [name for name in names if name != "image"]
    return {**PARQUET_OPTIONS, "compression": dict.fromkeys(plain, "zstd") | {"image": "none"}} | {
        "use_dictionary": plain,
        "write_statistics": plain,
    }


class ChunkLog:
    """Appends outcomes of one partition under `folder`; every file carries the digest of the image settings.

    `settings_digest` identifies chunks of other settings. `append` may wait for a chunk to be written: that is the backpressure.
    """

    def __init__(self, storage: Storage, folder: str, settings_digest: str, chunk_records: int) -> None:
        self._storage = storage
        self._folder = folder
        self._metadata = {SETTINGS_KEY: settings_digest.encode()}
        self._chunk_records = chunk_records
        self._lock = asyncio.Lock()
        self._rows: list[dict[str, Any]] = []
        self._num_bytes = 0
        self._since = time.monotonic()

    def names(self) -> list[str]:
        """Chunks of earlier runs with these settings; chunks of other settings are removed."""
        found = []
        for name in self._storage.list(self._folder):
            with self._storage.reader(name) as stream:
                metadata = pq.read_schema(stream).metadata or {}
            if metadata.get(SETTINGS_KEY) == self._metadata[SETTINGS_KEY]:
                found.append(name)
            else:
                self._storage.remove(name)
        return found

    async def append(self, rows: list[dict[str, Any]]) -> None:
        """Add rows of CHUNK_SCHEMA; write a chunk when number, bytes or age of the rows reach a limit."""
        self._rows.extend(rows)
        self._num_bytes += sum(len(row.get("image") or b"") for row in rows)
        if self._is_full():
            async with self._lock:
                if self._is_full():
                    full, self._rows, self._num_bytes, self._since = self._rows, [], 0, time.monotonic()
                    await asyncio.to_thread(self._write, full)

    def _is_full(self) -> bool:
        is_old = bool(self._rows) and time.monotonic() - self._since > _CHUNK_AGE_S
        return is_old or len(self._rows) >= self._chunk_records or self._num_bytes >= _CHUNK_BYTES

    def _write(self, rows: list[dict[str, Any]]) -> None:
        if len(rows) > 1 and sum(len(row.get("image") or b"") for row in rows) > _MOST_CHUNK_BYTES:
            self._write(rows[::2])
            self._write(rows[1::2])
            return
        table = chunk_table(rows)
        name = f"{self._folder}/chunk-{digest_value(table['record_id'].to_pylist())[:24]}.parquet"
        num_bytes = pc.sum(pc.binary_length(table["image"])).as_py() or 0
        group_rows = max(1, min(len(rows), len(rows) * _CHUNK_ROW_GROUP_BYTES // max(1, num_bytes)))
        with self._storage.writer(name) as stream:
            table = table.replace_schema_metadata(self._metadata)
            pq.write_table(table, stream, row_group_size=group_rows, **image_options(CHUNK_SCHEMA.names))

    def rest(self) -> pa.Table:
        """The rows appended after the last chunk."""
        return chunk_table(self._rows)

    def remove(self) -> None:
        """Remove all chunks; the partition is complete without them."""
        for name in self._storage.list(self._folder):
            self._storage.remove(name)
        if self._storage.is_local and self._storage.filesystem.isdir(self._storage.uri(self._folder)):
            self._storage.filesystem.rmdir(self._storage.uri(self._folder))


def chunk_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as a table of CHUNK_SCHEMA, sorted by record id."""
    rows = sorted(rows, key=lambda row: str(row["record_id"]))
    columns = {name: [row.get(name) for row in rows] for name in _PLAIN}
    images = _binary_column([row.get("image") for row in rows])
    arrays = [images if field.name == "image" else pa.array(columns[field.name], field.type) for field in CHUNK_SCHEMA]
    return pa.Table.from_arrays(arrays, schema=CHUNK_SCHEMA)


def _binary_column(values: list[bytes | None]) -> pa.Array:
    """A binary column made with one copy of the bytes; Arrow's own builder grows by copying, several times over for images."""
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(value or b"") for value in values], out=offsets[1:])
    validity = pa.array([value is not None for value in values], pa.bool_()).buffers()[1]
    data = pa.py_buffer(b"".join(value for value in values if value))
    return pa.Array.from_buffers(pa.binary(), len(values), [validity, pa.py_buffer(offsets), data])


class ImageFile:
    """The images of one sorted file, read in ascending order of record id, with one row group in memory."""

    def __init__(self, groups: Iterator[pa.Table]) -> None:
        self._groups = groups
        self._table = _NULLABLE.empty_table()
        self._record_ids: list[str] = []
        self._index = 0

    def find(self, record_id: str) -> tuple[pa.Table, int]:
        """The table that holds `record_id` (greater than those of earlier calls), and its row there."""
        while True:
            self._index = bisect_left(self._record_ids, record_id, self._index)
            if self._index < len(self._record_ids) and self._record_ids[self._index] == record_id:
                return self._table, self._index
            self._table = next(self._groups).select(IMAGE_SCHEMA.names).cast(_NULLABLE)
            self._record_ids, self._index = self._table["record_id"].to_pylist(), 0


def read_groups(storage: Storage, name: str, stack: ExitStack) -> Iterator[pa.Table]:
    """Row groups of a Parquet file, read on demand; `stack` closes it."""
    if storage.is_local:
        file = stack.enter_context(pq.ParquetFile(storage.uri(name), memory_map=True))
    else:
        file = pq.ParquetFile(stack.enter_context(storage.reader(name)))
    for index in range(file.num_row_groups):
        table = file.read_row_group(index, columns=IMAGE_SCHEMA.names)
        # Written before the column existed; the image itself provides the value.
        yield table if "num_bytes" in table.column_names else table.append_column("num_bytes", pc.binary_length(table["image"]))


def merged_groups(owners: dict[str, tuple[str, int]], open_file: Callable[[str], Iterator[pa.Table]]) -> Iterator[pa.Table]:
    """Tables of at most ROW_GROUP_ROWS images in order of record id, each in one chunk, so that equal rows are written as equal bytes.

    `owners` maps each record id to the file of its image and the bytes of its original, which decide where groups end.
    """
    files: dict[str, ImageFile] = {}
    for group in _grouped(owners):
        slices: list[tuple[pa.Table, int, int]] = []
        for record_id in group:
            owner = owners[record_id][0]
            if owner not in files:
                files[owner] = ImageFile(open_file(owner))
            table, index = files[owner].find(record_id)
            if slices and slices[-1][0] is table and slices[-1][1] + slices[-1][2] == index:
                slices[-1] = (table, slices[-1][1], slices[-1][2] + 1)
            else:
                slices.append((table, index, 1))
        merged = pa.concat_tables([table.slice(start, length) for table, start, length in slices]).combine_chunks()
        yield pa.Table.from_arrays(merged.columns, schema=IMAGE_SCHEMA)


def _grouped(owners: dict[str, tuple[str, int]]) -> Iterator[list[str]]:
    group: list[str] = []
    num_bytes = 0
    for record_id in sorted(owners):
        if group and (len(group) == ROW_GROUP_ROWS or num_bytes + owners[record_id][1] > _ROW_GROUP_BYTES):
            yield group
            group, num_bytes = [], 0
        group.append(record_id)
        num_bytes += owners[record_id][1]
    if group:
        yield group


def read_rows(storage: Storage, name: str) -> list[dict[str, Any]]:
    """The rows of a chunk without their images."""
    with storage.reader(name) as stream:
        rows: list[dict[str, Any]] = pq.read_table(stream, columns=_PLAIN).to_pylist()
    return rows


def is_success(row: dict[str, Any]) -> bool:
    """True if a ledger row states that there is an image."""
    return bool(row["status"] == SUCCESS)
