"""Joining two tables of a provider by a key, with memory flat in their size.

A grace hash join (Kitsuregawa, Tanaka, Moto-oka 1983): both sides are partitioned into buckets on disk by a hash of the key, and each
bucket is joined in memory. If the right side fits into the buffer, nothing is partitioned and the left side is streamed.
Rows of equal key keep their order and positions in both cases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc

from bioclip.sources.external.spill import DEFAULT_BUFFER_BYTES, Spill

NUM_BUCKETS = 128
POSITION = "_position"
"""Column of a joined table: number of earlier left rows of the same right row; null without a match."""

_PRIME = np.uint64(0x9E3779B97F4A7C15)


class HashJoin:
    """A left outer join of many left rows to one right row.

    The first of several right rows with equal keys is used. After `join` is exhausted `num_unmatched_right` and `num_repeated_right` are
    set.
    """

    def __init__(
        self,
        left_key: str,
        right_key: str,
        folder: Path,
        buffer_bytes: int = DEFAULT_BUFFER_BYTES,
        on_unmatched: Callable[[pa.Table], None] | None = None,
    ) -> None:
        self.left_key, self.right_key = left_key, right_key
        self.on_unmatched = on_unmatched
        """Called with the right rows, their key included, that no left row matches."""
        self._folder, self._buffer_bytes = folder, buffer_bytes
        self.num_unmatched_right = self.num_repeated_right = 0
        self.num_spilled_buckets = 0

    def join(self, left: Callable[[], Iterable[pa.Table]], right: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Tables of the left columns, the right columns (without its key) and POSITION; right columns are null without a match.

        `right` is read to its end before `left` is called. The two have no column name in common.
        """
        held = Spill(self._folder / "right", NUM_BUCKETS, self._buffer_bytes)
        schema: pa.Schema | None = None
        for table in right:
            schema = schema or table.schema
            held.add(table, key_buckets(table[self.right_key], NUM_BUCKETS))
        held.finish()
        if schema is None:
            raise ValueError("the right side of a join must yield at least one table, which may be empty")
        if held.is_on_disk:
            yield from self._join_buckets(left(), held, schema)
        else:
            lookup = _Lookup(_whole(list(held.buffered()), schema), self)
            for table in _gathered(left(), self._buffer_bytes // 4):
                yield lookup.join(table)
            lookup.close()
        held.close()

    def _join_buckets(self, left: Iterable[pa.Table], held: Spill, schema: pa.Schema) -> Iterator[pa.Table]:
        dealt = Spill(self._folder / "left", NUM_BUCKETS, self._buffer_bytes)
        for table in left:
            dealt.add(table, key_buckets(table[self.left_key], NUM_BUCKETS))
        dealt.finish()
        for bucket in range(NUM_BUCKETS):
            some = held.read(bucket)
            lookup = _Lookup(_whole([some] if some is not None else [], schema), self)
            if (rows := dealt.read(bucket)) is not None:
                yield lookup.join(rows)
            lookup.close()
            self.num_spilled_buckets += 1
        dealt.close()


class _Lookup:
    """The right side, or one bucket of it, in memory."""

    def __init__(self, right: pa.Table, owner: HashJoin) -> None:
        self._owner = owner
        keys = right[owner.right_key].combine_chunks()
        first = pc.index_in(keys, value_set=keys).to_numpy()
        is_first = first == np.arange(len(first))
        owner.num_repeated_right += int(len(first) - is_first.sum())
        self._right = right.filter(pa.array(is_first)) if not is_first.all() else right
        self._keys = self._right[owner.right_key].combine_chunks()
        self._right = self._right.drop_columns([owner.right_key]).combine_chunks()
        self._counts = np.zeros(len(self._keys), np.int32)

    def join(self, left: pa.Table) -> pa.Table:
        found = pc.index_in(left[self._owner.left_key], value_set=self._keys).combine_chunks()
        has_match = found.is_valid().to_numpy(zero_copy_only=False)
        indices = found.drop_null().to_numpy()
        positions = np.zeros(len(has_match), np.int32)
        positions[has_match] = self._counts[indices] + positions_within(indices)
        self._counts += np.bincount(indices, minlength=len(self._counts)).astype(np.int32)
        joined = left
        for name, column in zip(self._right.column_names, self._right.take(found).columns, strict=True):
            joined = joined.append_column(name, column)
        return joined.append_column(POSITION, pa.array(positions, mask=~has_match))

    def close(self) -> None:
        is_unmatched = self._counts == 0
        self._owner.num_unmatched_right += int(is_unmatched.sum())
        if self._owner.on_unmatched is not None and is_unmatched.any():
            mask = pa.array(is_unmatched)
            self._owner.on_unmatched(self._right.filter(mask).append_column(self._owner.right_key, self._keys.filter(mask)))


def positions_within(groups: np.ndarray) -> np.ndarray:
    """Number of equal elements before each element: int32 of the same length."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    is_start = np.ones(len(groups), bool)
    is_start[1:] = ordered[1:] != ordered[:-1]
    starts = np.flatnonzero(is_start)
    positions = np.empty(len(groups), np.int32)
    positions[order] = np.arange(len(groups)) - np.repeat(starts, np.diff(np.append(starts, len(groups))))
    return positions


def key_buckets(keys: pa.ChunkedArray, num_buckets: int) -> np.ndarray:
    """A bucket in [0, num_buckets) for each string key: equal keys, equal buckets, on every machine.

    The hash mixes length, the last 16 bytes and the first 8: ids differ in their ends. It must be uniform, not secret.
    """
    parts = [_key_buckets(chunk, num_buckets) for chunk in keys.chunks]
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)


def _key_buckets(keys: pa.Array, num_buckets: int) -> np.ndarray:
    keys = pc.fill_null(keys, "").cast(pa.large_string())
    if not len(keys):
        return np.zeros(0, np.int32)
    _, offset_buffer, data_buffer = keys.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[keys.offset : keys.offset + len(keys) + 1]
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None and data_buffer.size else np.zeros(1, np.uint8)
    starts, stops = offsets[:-1], offsets[1:]
    mixed = (stops - starts).astype(np.uint64)
    for back in range(1, 17):
        mixed = _mix(mixed, data, stops - back, stops - back >= starts)
    for ahead in range(8):
        mixed = _mix(mixed, data, starts + ahead, starts + ahead < stops)
    mixed ^= mixed >> np.uint64(32)
    return ((mixed * _PRIME >> np.uint64(40)) % np.uint64(num_buckets)).astype(np.int32)


def _mix(mixed: np.ndarray, data: np.ndarray, where: np.ndarray, is_inside: np.ndarray) -> np.ndarray:
    values = data[np.clip(where, 0, len(data) - 1)].astype(np.uint64) * is_inside
    mixed = (mixed ^ values) * _PRIME
    mixed ^= mixed >> np.uint64(29)
    return mixed


def _gathered(tables: Iterable[pa.Table], num_bytes: int) -> Iterator[pa.Table]:
    """The rows in fewer tables of about `num_bytes`, since each look-up hashes the whole right side."""
    some: list[pa.Table] = []
    size = 0
    for table in tables:
        some.append(table)
        size += table.nbytes
        if size >= num_bytes:
            yield pa.concat_tables(some).combine_chunks()
            some, size = [], 0
    if some:
        yield pa.concat_tables(some).combine_chunks()


def _whole(tables: list[pa.Table], schema: pa.Schema) -> pa.Table:
    return pa.concat_tables(tables) if tables else schema.empty_table()
