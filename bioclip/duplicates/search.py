"""All pairs of 64-bit hashes within a Hamming radius, exactly.

Block-sort join after Manku, Jain and Das Sarma (WWW 2007) in its self-join form: cut a hash into B blocks; two hashes that differ in at
most r bits agree in at least B - r whole blocks, so for each choice of B - r blocks one sort by these brings every such pair together.
Nothing is lost (pigeonhole). Equal hashes are joined first, so copies cost nothing. A pair is taken only where the choice is the lowest
blocks that it agrees in, so memory grows with the pairs that there are, not with the tables that meet them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import combinations, groupby, pairwise
from math import comb

import numpy as np
import numpy.typing as npt

from bioclip.errors import SettingsError

HashArray = npt.NDArray[np.uint64]
IndexArray = npt.NDArray[np.int64]

MAX_PAIRS = 50_000_000
"""Pairs at which a search gives up rather than fill the memory: about 3 GB while they are put in order."""

_CHUNK = 1 << 15
"""Hashes compared at once: 256 KB, so that all passes over them stay in the cache."""
_PIECE = 1 << 10
"""Hashes sorted at once where larger order is there already."""
_SORT_COST = 10
"""What it costs to move and sort one hash, in comparisons of two."""


@dataclass(frozen=True)
class HashPairs:
    """Pairs (first < second) of positions in `unique`, the sorted distinct hashes; `inverse` leads from each input hash to its position."""

    unique: HashArray
    inverse: IndexArray
    first: IndexArray
    second: IndexArray
    distance: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Table:
    """One choice of blocks. `moves` (mask, bits to the left) bring them to the top, the last one below the `shared_bits` of the others;
    pairs with an XOR under `limit` agree in them; those that agree in a block of `passed_over` too belong to another table."""

    moves: tuple[tuple[int, int], ...]
    moves_back: tuple[tuple[int, int], ...]
    shared_bits: int
    limit: int
    passed_over: tuple[int, ...]


def near_pairs(hashes: HashArray, radius: int) -> HashPairs:
    """Every pair of distinct hashes that differ in at most `radius` bits (0 to 12), sorted; the same with any number of cores.

    Raises SettingsError beyond MAX_PAIRS pairs.
    """
    unique, inverse = np.unique(hashes, return_inverse=True)
    codes = _pair_codes(unique, radius) if radius > 0 and len(unique) > 1 else np.empty(0, np.int64)
    first, second = np.divmod(codes, max(1, len(unique)))
    distance = np.bitwise_count(unique[first] ^ unique[second]).astype(np.int64)
    return HashPairs(unique, inverse.astype(np.int64), first, second, distance)


def _pair_codes(unique: HashArray, radius: int) -> IndexArray:
    """Sorted first * len(unique) + second of every pair."""
    found: list[IndexArray] = []
    num_pairs = 0
    num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(num_threads) as pool:
        try:
            for codes in pool.map(partial(_group_pairs, unique, radius=radius), _table_groups(len(unique), radius)):
                found.append(codes)
                num_pairs += len(codes)
                _refuse_crowds(num_pairs, radius)
        finally:
            pool.shutdown(cancel_futures=True)
    codes = np.concatenate(found)
    codes.sort()
    return codes


def _refuse_crowds(num_pairs: int, radius: int) -> None:
    if num_pairs > MAX_PAIRS:
        raise SettingsError(
            f"more than {MAX_PAIRS} pairs of hashes lie within {radius} bits of each other: a crowd of nearly equal images; lower the "
            "radius (duplicates.radius, release.leak_radius) or raise duplicates.min_entropy_bits."
        )


def _table_groups(num_hashes: int, radius: int) -> list[list[_Table]]:
    """One table for each choice of B - r of B blocks, B being the cheapest for so many (uniform) hashes; together when only the last block
    differs."""

    def cost(num_blocks: int) -> float:
        key_bits = 64 * (num_blocks - radius) / num_blocks
        return comb(num_blocks, radius) * (_SORT_COST * num_hashes + num_hashes**2 / 2 ** (key_bits + 1))

    num_blocks = min(range(radius + 1, radius + 5), key=cost)
    edges = [round(64 * block / num_blocks) for block in range(num_blocks + 1)]
    blocks = list(pairwise(edges))
    choices = combinations(range(num_blocks), num_blocks - radius)
    return [[_table(blocks, chosen) for chosen in group] for _, group in groupby(choices, key=lambda chosen: chosen[:-1] or chosen)]


def _table(blocks: list[tuple[int, int]], chosen: tuple[int, ...]) -> _Table:
    others = [block for block in range(len(blocks)) if block not in chosen]
    moves: dict[int, int] = {}
    moved = {}
    top = 64
    for block in (*chosen, *reversed(others)):
        low, high = blocks[block]
        top -= high - low
        mask = ((1 << (high - low)) - 1) << low
        moves[top - low] = moves.get(top - low, 0) | mask
        moved[block] = ((1 << (high - low)) - 1) << top
    shared_bits, key_bits = (sum(blocks[block][1] - blocks[block][0] for block in some) for some in (chosen[:-1], chosen))
    return _Table(
        moves=tuple((mask, shift) for shift, mask in moves.items()),
        moves_back=tuple((mask << shift if shift > 0 else mask >> -shift, -shift) for shift, mask in moves.items()),
        shared_bits=shared_bits,
        limit=1 << (64 - key_bits),
        passed_over=tuple(moved[block] for block in others if block < chosen[-1]),
    )


def _group_pairs(unique: HashArray, tables: list[_Table], radius: int) -> IndexArray:
    """Codes of the pairs of tables that differ in their last block alone: one whole sort, then short ones within its pieces."""
    shared = tables[0]
    ordered = unique
    if shared.shared_bits:
        ordered = _moved(unique, shared.moves)
        ordered.sort()
        ordered = _moved(ordered, shared.moves_back)
    piece_bits = min(shared.shared_bits, max(0, (len(unique) // _PIECE).bit_length()))
    cuts = np.arange(1, 1 << piece_bits, dtype=np.uint64) << np.uint64(64 - piece_bits) if piece_bits else np.empty(0, np.uint64)
    found = []
    for table in tables:
        values = _moved(ordered, table.moves)
        for low, high in pairwise([0, *np.searchsorted(values, cuts).tolist(), len(values)]):
            values[low:high].sort()
        found.append(_table_pairs(unique, values, table, radius))
    return np.concatenate(found)


def _table_pairs(unique: HashArray, values: HashArray, table: _Table, radius: int) -> IndexArray:
    """Codes of the pairs that belong to one table, whose moved and sorted hashes are `values`."""
    found, num_pairs = [np.empty(0, np.int64)], 0
    for low in range(0, len(values), _CHUNK):
        for ends in _batches(_near(values, low, table.limit, radius)):
            pairs = values[ends]
            for mask in table.passed_over:
                pairs = pairs[:, ((pairs[0] ^ pairs[1]) & np.uint64(mask)) != 0]
            places = np.searchsorted(unique, _moved(pairs.ravel(), table.moves_back)).reshape(2, -1)
            found.append(places.min(axis=0) * len(unique) + places.max(axis=0))
            num_pairs += pairs.shape[1]
            _refuse_crowds(num_pairs, radius)
    return np.concatenate(found)


def _batches(near: Iterator[tuple[IndexArray, int]]) -> Iterator[IndexArray]:
    """Both places of each pair, shape (2, pairs), some ten thousand pairs at a time however many offsets they come from."""
    ends: list[IndexArray] = []
    num_pairs = 0
    for start, offset in near:
        ends.append(np.stack([start, start + offset]))
        num_pairs += len(start)
        if num_pairs >= _CHUNK:
            yield np.concatenate(ends, axis=1)
            ends, num_pairs = [], 0
    if ends:
        yield np.concatenate(ends, axis=1)


def _moved(values: HashArray, moves: tuple[tuple[int, int], ...]) -> HashArray:
    """The hashes with their blocks in another order."""
    result = np.zeros_like(values)
    for low in range(0, len(values), _CHUNK):
        part = values[low : low + _CHUNK]
        for mask, shift in moves:
            bits = part & np.uint64(mask)
            result[low : low + _CHUNK] |= bits << np.uint64(shift) if shift > 0 else bits >> np.uint64(-shift)
    return result


def _near(values: HashArray, low: int, limit: int, radius: int) -> Iterator[tuple[IndexArray, int]]:
    """(places, offset): from each place in the chunk at `low`, the value `offset` further on has the same key and is within the radius.

    Runs of equal keys are followed for the whole chunk at once while many of them last, then place by place.
    """
    offset, bound = 1, np.uint64(limit)
    while True:
        high = min(low + _CHUNK, len(values) - offset)
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
