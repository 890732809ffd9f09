"""Pairs that one group of tables of a block-sort join finds; crowds that share a key are compared partly, and counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from bioclip.duplicates.hamming.blocks import CHUNK, HashArray, IndexArray, Table, moved

CROWD_OFFSETS = 8
"""Hashes of a crowd are compared with so many that follow them in each table: enough to chain them together."""
_MIN_CROWD = 64
_MIN_TABLE_PAIRS = 1 << 23
"""A table may find as many pairs as there are hashes, but at least these (64 MB), before smaller crowds count as such."""
_PIECE = 1 << 10
"""Hashes sorted at once where larger order is there already."""
_FILTER_BITS = 22
"""Bits of a key that tell whether a known hash can meet a new one: a map of 4 MB."""


@dataclass(frozen=True)
class BucketPairs:
    """`codes` are first * num_hashes + second of pairs; `crowded` the places of hashes that were not compared with all of their key, and
    `num_left_out` the comparisons that were not made."""

    codes: IndexArray
    crowded: IndexArray
    num_left_out: int


def merged(found: list[BucketPairs]) -> BucketPairs:
    """All of them as one; codes keep their order."""
    if not found:
        return BucketPairs(np.empty(0, np.int64), np.empty(0, np.int64), 0)
    return BucketPairs(
        np.concatenate([one.codes for one in found]),
        np.unique(np.concatenate([one.crowded for one in found])),
        sum(one.num_left_out for one in found),
    )


def group_pairs(
    unique: HashArray, tables: list[Table], radius: int, crowd_size: int, is_new: npt.NDArray[np.bool_] | None = None
) -> BucketPairs:
    """Pairs of tables that differ in their last block alone: one whole sort, then short ones within its pieces.

    With `is_new`, pairs of two known hashes are left out, and so are known hashes that share no key with a new one.
    """
    if is_new is not None:
        return merged([_table_pairs(unique, _touched(unique, table, is_new), table, radius, crowd_size, is_new) for table in tables])
    shared = tables[0]
    ordered = unique
    if shared.shared_bits:
        ordered = moved(unique, shared.moves)
        ordered.sort()
        ordered = moved(ordered, shared.moves_back)
    piece_bits = min(shared.shared_bits, max(0, (len(unique) // _PIECE).bit_length()))
    cuts = np.arange(1, 1 << piece_bits, dtype=np.uint64) << np.uint64(64 - piece_bits) if piece_bits else np.empty(0, np.uint64)
    found = []
    for table in tables:
        values = moved(ordered, table.moves)
        for low, high in pairwise([0, *np.searchsorted(values, cuts).tolist(), len(values)]):
            values[low:high].sort()
        found.append(_table_pairs(unique, values, table, radius, crowd_size, None))
    return merged(found)


def _touched(unique: HashArray, table: Table, is_new: npt.NDArray[np.bool_]) -> HashArray:
    """Moved and sorted: the new hashes and those whose key begins like that of a new one."""
    values = moved(unique, table.moves)
    key_bits = 64 - (table.limit.bit_length() - 1)
    shift = np.uint64(64 - min(key_bits, _FILTER_BITS))
    begins = np.zeros(1 << min(key_bits, _FILTER_BITS), bool)
    begins[values[is_new] >> shift] = True
    touched: HashArray = values[begins[values >> shift]]
    touched.sort()
    return touched


def _table_pairs(
    unique: HashArray, values: HashArray, table: Table, radius: int, crowd_size: int, is_new: npt.NDArray[np.bool_] | None
) -> BucketPairs:
    """Pairs that belong to one table, whose moved and sorted hashes are `values`; with a smaller crowd when they become too many."""
    budget: int | None = max(_MIN_TABLE_PAIRS, len(unique))
    while True:
        crowds = _crowds(values, table, crowd_size)
        budget = budget if crowd_size > _MIN_CROWD else None
        codes = _codes(unique, _near(values, crowds, table, radius), values, table, is_new, budget)
        if codes is not None:
            break
        crowd_size = max(_MIN_CROWD, crowd_size // 8)
    hashes = np.concatenate([values[low:high] for low, high in crowds]) if crowds else np.empty(0, np.uint64)
    crowded = np.searchsorted(unique, moved(hashes, table.moves_back))
    left_out = sum((high - low - CROWD_OFFSETS) * (high - low - CROWD_OFFSETS - 1) // 2 for low, high in crowds)
    return BucketPairs(codes, crowded, left_out)


def _codes(
    unique: HashArray,
    near: Iterator[tuple[IndexArray, int]],
    values: HashArray,
    table: Table,
    is_new: npt.NDArray[np.bool_] | None,
    budget: int | None,
) -> IndexArray | None:
    """Codes of the pairs at `near` that are this table's own; None when they are more than `budget`."""
    found, num_pairs = [np.empty(0, np.int64)], 0
    for ends in _batches(near):
        pairs = values[ends]
        for mask in table.passed_over:
            pairs = pairs[:, ((pairs[0] ^ pairs[1]) & np.uint64(mask)) != 0]
        places = np.searchsorted(unique, moved(pairs.ravel(), table.moves_back)).reshape(2, -1)
        if is_new is not None:
            places = places[:, is_new[places].any(axis=0)]
        found.append(places.min(axis=0) * len(unique) + places.max(axis=0))
        num_pairs += places.shape[1]
        if budget is not None and num_pairs > budget:
            return None
    return np.concatenate(found)


def _crowds(values: HashArray, table: Table, crowd_size: int) -> list[tuple[int, int]]:
    """Runs of more than `crowd_size` values of one key, as places (from, to) in order."""
    sample = values[:: crowd_size // 2]
    alike = (sample[1:] ^ sample[:-1]) < np.uint64(table.limit)
    keys = np.unique(sample[:-1][alike] & ~np.uint64(table.limit - 1))
    ends = np.searchsorted(values, keys), np.searchsorted(values, keys | np.uint64(table.limit - 1), side="right")
    return [(low, high) for low, high in zip(*(end.tolist() for end in ends), strict=True) if high - low > crowd_size]


def _near(values: HashArray, crowds: list[tuple[int, int]], table: Table, radius: int) -> Iterator[tuple[IndexArray, int]]:
    """(places, offset) of pairs within the radius that share a key; a run of equal keys is never cut by the crowds between."""
    start = 0
    for low, high in [*crowds, (len(values), len(values))]:
        part = values[start:low]
        for at in range(0, len(part), CHUNK):
            for places, offset in _run_pairs(part, at, table.limit, radius):
                yield places + start, offset
        for places, offset in _crowd_pairs(values[low:high], radius):
            yield places + low, offset
        start = high


def _crowd_pairs(values: HashArray, radius: int) -> Iterator[tuple[IndexArray, int]]:
    for low in range(0, len(values), CHUNK):
        for offset in range(1, CROWD_OFFSETS + 1):
            high = min(low + CHUNK, len(values) - offset)
            if high > low:
                yield np.flatnonzero(np.bitwise_count(values[low + offset : high + offset] ^ values[low:high]) <= radius) + low, offset


def _batches(near: Iterator[tuple[IndexArray, int]]) -> Iterator[IndexArray]:
    """Both places of each pair, shape (2, pairs), some ten thousand pairs at a time however many offsets they come from."""
    ends: list[IndexArray] = []
    num_pairs = 0
    for start, offset in near:
        ends.append(np.stack([start, start + offset]))
        num_pairs += len(start)
        if num_pairs >= CHUNK:
            yield np.concatenate(ends, axis=1)
            ends, num_pairs = [], 0
    if ends:
        yield np.concatenate(ends, axis=1)


def _run_pairs(values: HashArray, low: int, limit: int, radius: int) -> Iterator[tuple[IndexArray, int]]:
    """(places, offset): from each place in the chunk at `low`, the value `offset` further on has the same key and is within the radius.

    Runs of equal keys are followed for the whole chunk at once while many of them last, then place by place.
    """
    offset, bound = 1, np.uint64(limit)
    while True:
        high = min(low + CHUNK, len(values) - offset)
        if high <= low:
            return
        difference = values[low + offset : high + offset] ^ values[low:high]
        same = difference < bound
        near = np.flatnonzero(np.bitwise_count(difference) <= radius)
        near = near[same[near]]
        if len(near):
            yield near + low, offset
        offset += 1
        if np.count_nonzero(same) * 6 < high - low:
            break
    alive = np.flatnonzero(same) + low
    while len(alive := alive[alive + offset < len(values)]):
        difference = values[alive] ^ values[alive + offset]
        same = difference < bound
        alive, difference = alive[same], difference[same]
        near = alive[np.bitwise_count(difference) <= radius]
        if len(near):
            yield near, offset
        offset += 1
