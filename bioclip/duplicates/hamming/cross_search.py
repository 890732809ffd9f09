"""All pairs of 64-bit hashes within a Hamming radius, one from each of two sets, exactly.

The block argument of `bioclip.duplicates.hamming.self_search` (Manku, Jain and Das Sarma, WWW 2007) without the pairs inside
either set: of B blocks, hashes that differ in at most r bits agree in B - r. For each choice of these the smaller set is laid out
by its key in a table of counts, and the larger set is read past it once, in pieces that stay in the cache. A pair is taken only
where the choice is the lowest blocks that it agrees in, so it is found once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import comb

import numpy as np
import numpy.typing as npt

HashArray = npt.NDArray[np.uint64]
IndexArray = npt.NDArray[np.int64]

MAX_PAIRS = 20_000_000
"""Pairs beyond which crowds are thinned rather than fill the memory: about 2 GB while they are put in order."""

_PIECE = 1 << 15
"""Hashes of the larger set that are looked up at once."""
_BATCH = 1 << 17
"""Candidate pairs that are compared at once."""
_MAX_KEY_BITS = 22
"""A table of counts of 16 MB; longer keys would leave the cache."""
_LOOK_UP_COST, _COMPARE_COST = 1, 1
"""What it costs to look up one hash and to compare one pair, as they relate: about 25 ns each on one core."""


@dataclass(frozen=True)
class CrossPairs:
    """Positions in the two arrays given, sorted by (left, right), and the distance in bits; `num_left_out` pairs of crowds are not listed,
    though every hash of them is."""

    left: IndexArray
    right: IndexArray
    distance: npt.NDArray[np.int64]
    num_left_out: int = 0


@dataclass(frozen=True)
class _Choice:
    """The blocks (low bit, number of bits) that make the key, and masks of lower blocks that must differ."""

    blocks: tuple[tuple[int, int], ...]
    must_differ: tuple[int, ...]

    @property
    def key_bits(self) -> int:
        return sum(bits for _, bits in self.blocks)

    def keys(self, hashes: HashArray) -> IndexArray:
        """The chosen blocks side by side, in the low bits."""
        key = np.zeros(len(hashes), np.uint64)
        for low, bits in self.blocks:
            key <<= np.uint64(bits)
            key |= (hashes >> np.uint64(low)) & np.uint64((1 << bits) - 1)
        return key.view(np.int64)


def cross_pairs(left: HashArray, right: HashArray, radius: int) -> CrossPairs:
    """Every (left, right) that differ in at most `radius` bits (0 to 12); both arrays sorted and distinct, as np.unique gives them.

    Memory grows with the pairs found, up to MAX_PAIRS: crowds beyond are thinned until each of their hashes is in at least one pair, and
    the rest is counted, so nothing that leaks is missed. The same result with any number of cores.
    """
    if len(left) == 0 or len(right) == 0:
        empty = np.empty(0, np.int64)
        return CrossPairs(empty, empty, empty)
    if len(left) < len(right):
        turned = cross_pairs(right, left, radius)
        order = np.lexsort((turned.left, turned.right))
        return CrossPairs(turned.right[order], turned.left[order], turned.distance[order], turned.num_left_out)
    found = _PairChunks(len(right))
    num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(num_threads) as pool:
        try:
            for part in pool.map(lambda choice: _choice_pairs(left, right, choice, radius), _choices(len(left), len(right), radius)):
                found.add(part.codes(), part.num_left_out)
        finally:
            pool.shutdown(cancel_futures=True)
    first, second = np.divmod(found.codes(), len(right))
    return CrossPairs(first, second, np.bitwise_count(left[first] ^ right[second]).astype(np.int64), found.num_left_out)


class _PairChunks:
    """Pairs as left * num_right + right; beyond MAX_PAIRS thinned to as many as name every hash of either side that has one."""

    def __init__(self, num_right: int) -> None:
        self._num_right = num_right
        self._parts: list[IndexArray] = []
        self._num_pairs = 0
        self.num_left_out = 0

    def add(self, codes: IndexArray, num_left_out: int = 0) -> None:
        """Further pairs, and how many more a crowd stood for."""
        self._parts.append(codes)
        self._num_pairs += len(codes)
        self.num_left_out += num_left_out
        if self._num_pairs > MAX_PAIRS:
            kept = self._thinned(self.codes())
            self.num_left_out += self._num_pairs - len(kept)
            self._parts, self._num_pairs = [kept], len(kept)

    def codes(self) -> IndexArray:
        """All pairs, sorted."""
        codes = np.concatenate([np.empty(0, np.int64), *self._parts])
        codes.sort()
        return codes

    def _thinned(self, codes: IndexArray) -> IndexArray:
        left, right = np.divmod(codes, self._num_right)
        is_first = np.diff(left, prepend=-1) != 0
        is_first[np.unique(right, return_index=True)[1]] = True
        kept: IndexArray = codes[is_first]
        return kept


def _choices(num_left: int, num_right: int, radius: int) -> list[_Choice]:
    """All choices of B - r of B blocks, B being the cheapest for so many (uniform) hashes."""

    def cost(num_blocks: int) -> float:
        key_bits = 64 * (num_blocks - radius) / num_blocks
        return comb(num_blocks, radius) * num_left * (_LOOK_UP_COST + _COMPARE_COST * num_right / 2**key_bits)

    fitting = [count for count in range(radius + 1, radius + 6) if 64 * (count - radius) / count <= _MAX_KEY_BITS]
    num_blocks = min(fitting or [radius + 1], key=cost)
    edges = [round(64 * block / num_blocks) for block in range(num_blocks + 1)]
    blocks = [(low, high - low) for low, high in pairwise(edges)]
    choices = []
    for chosen in combinations(range(num_blocks), num_blocks - radius):
        lower = [block for block in range(chosen[-1]) if block not in chosen]
        masks = tuple(((1 << blocks[block][1]) - 1) << blocks[block][0] for block in lower)
        choices.append(_Choice(tuple(blocks[block] for block in chosen), masks))
    return choices


def _choice_pairs(left: HashArray, right: HashArray, choice: _Choice, radius: int) -> _PairChunks:
    """The pairs that belong to one choice."""
    if choice.key_bits > _MAX_KEY_BITS:
        keys, table_keys = _compact_keys(choice, left, right)
    else:
        keys, table_keys = None, choice.keys(right)
    order = np.argsort(table_keys, kind="stable")
    size = int(table_keys.max()) + 2 if keys is not None else 1 << choice.key_bits
    counts = np.bincount(table_keys, minlength=size).astype(np.int32)
    starts = (np.cumsum(counts) - counts).astype(np.int32)
    laid_out = right[order]
    found = _PairChunks(len(right))
    for low in range(0, len(left), _PIECE):
        piece = left[low : low + _PIECE]
        key = choice.keys(piece) if keys is None else keys[low : low + _PIECE]
        first, count = starts[key], counts[key]
        for places, candidates in _batches(first, count):
            difference = piece[places] ^ laid_out[candidates]
            near = np.flatnonzero(np.bitwise_count(difference) <= radius)
            for mask in choice.must_differ:
                near = near[(difference[near] & np.uint64(mask)) != 0]
            found.add((places[near] + low) * len(right) + order[candidates[near]])
    return found


def _compact_keys(choice: _Choice, left: HashArray, right: HashArray) -> tuple[IndexArray, IndexArray]:
    """Keys too long for a table, numbered by their place among those of `right`; the last number stands for all others."""

    def wide(hashes: HashArray) -> HashArray:
        mask = np.uint64(sum(((1 << bits) - 1) << low for low, bits in choice.blocks))
        return hashes & mask

    known, numbers = np.unique(wide(right), return_inverse=True)
    values = wide(left)
    places = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return np.where(known[places] == values, places, len(known)).astype(np.int64), numbers.astype(np.int64)


def _batches(first: npt.NDArray[np.int32], count: npt.NDArray[np.int32]) -> Iterator[tuple[IndexArray, IndexArray]]:
    """(place, candidate) of every candidate of every place, at most about _BATCH at a time (more only for a single crowded place)."""
    places = np.flatnonzero(count)
    ends = np.cumsum(count[places], dtype=np.int64)
    low = 0
    while low < len(places):
        before = int(ends[low - 1]) if low else 0
        high = max(low + 1, int(np.searchsorted(ends, before + _BATCH, side="right")))
        some = places[low:high]
        counts = count[some]
        repeated = np.repeat(some, counts)
        shift = np.repeat(first[some] - (ends[low:high] - counts - before), counts)
        yield repeated, shift + np.arange(len(repeated))
        low = high
