"""All pairs of 64-bit hashes within a Hamming radius, exactly.

Block-sort join after Manku, Jain and Das Sarma (WWW 2007) in its self-join form: cut a hash into B blocks; two hashes that differ in at
most r bits agree in at least B - r whole blocks, so for each choice of B - r blocks one sort by these brings every such pair together.
Nothing is lost (pigeonhole). Equal hashes are joined first, so copies cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt

HashArray = npt.NDArray[np.uint64]
IndexArray = npt.NDArray[np.int64]

_EXTRA_BLOCKS = {0: 1, 1: 2, 2: 2, 3: 2, 4: 2}


@dataclass(frozen=True)
class HashPairs:
    """Pairs (first < second) of positions in `unique`, the sorted distinct hashes; `inverse` leads from each input hash to its position."""

    unique: HashArray
    inverse: IndexArray
    first: IndexArray
    second: IndexArray
    distance: npt.NDArray[np.int64]


def near_pairs(hashes: HashArray, radius: int) -> HashPairs:
    """Every pair of distinct hashes that differ in at most `radius` bits (0 to 12)."""
    unique, inverse = np.unique(hashes, return_inverse=True)
    found = [_table_pairs(unique, shifts, radius) for shifts in _tables(radius)] if radius > 0 and len(unique) > 1 else []
    codes = np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)
    first, second = np.divmod(codes, max(1, len(unique)))
    distance = np.bitwise_count(unique[first] ^ unique[second]).astype(np.int64)
    return HashPairs(unique, inverse.astype(np.int64), first, second, distance)


def _tables(radius: int) -> list[HashArray]:
    """The bit masks of blocks, one choice of B - r of B blocks a table."""
    num_blocks = radius + _EXTRA_BLOCKS.get(radius, 3)
    edges = [round(64 * block / num_blocks) for block in range(num_blocks + 1)]
    masks = [((1 << (high - low)) - 1) << low for low, high in pairwise(edges)]
    return [np.array([masks[block] for block in chosen], np.uint64) for chosen in combinations(range(num_blocks), num_blocks - radius)]


def _table_pairs(unique: HashArray, masks: HashArray, radius: int) -> IndexArray:
    """Pairs found in one table, coded as first * len(unique) + second."""
    keys = unique & np.bitwise_or.reduce(masks)
    order = np.argsort(keys, kind="stable")
    keys, values = keys[order], unique[order]
    found = []
    alive = np.arange(len(keys) - 1)
    offset = 1
    while len(alive):
        alive = alive[keys[alive] == keys[alive + offset]]
        near = alive[np.bitwise_count(values[alive] ^ values[alive + offset]) <= radius]
        if len(near):
            ends = np.stack([order[near], order[near + offset]])
            found.append(ends.min(axis=0) * len(unique) + ends.max(axis=0))
        offset += 1
        alive = alive[alive + offset < len(keys)]
    return np.concatenate(found).astype(np.int64) if found else np.empty(0, np.int64)
