"""All pairs of 64-bit hashes within a Hamming radius, exactly.

Block-sort join after Manku, Jain and Das Sarma (WWW 2007) in its self-join form: cut a hash into B blocks; two hashes that differ in at
most r bits agree in at least B - r whole blocks, so for each choice of B - r blocks one sort by these brings every such pair together.
No pair is missed (pigeonhole). Equal hashes are joined first, so copies cost nothing. A pair is taken only where the choice is the lowest
blocks that it agrees in, so memory grows with the pairs that there are, not with the tables that meet them, and the tables are jobs that
know nothing of each other.

More than `crowd_size` distinct hashes of one key are a crowd (burst shots, scans of one form): all its pairs would be quadratic, so each
of its hashes is compared with a few that follow it. What that leaves out is counted, and `crowded` says whose pairs may be incomplete.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from bioclip.duplicates.hamming.blocks import HashArray, IndexArray, Table, table_groups
from bioclip.duplicates.hamming.bucket_pairs import BucketPairs, group_pairs, merged

__all__ = [
    "CROWD_SIZE",
    "HashArray",
    "HashPairs",
    "IndexArray",
    "PairIndex",
    "hash_pairs",
    "near_pairs",
    "near_pairs_between",
    "num_search_parts",
    "pair_index",
    "search_part",
    "with_crowds_between",
]

CROWD_SIZE = 4096
"""Distinct hashes of one key beyond which not all are compared with each other: 8 million comparisons."""


def _none() -> IndexArray:
    return np.empty(0, np.int64)


@dataclass(frozen=True)
class HashPairs:
    """Pairs (first < second) of positions in `unique`, the sorted distinct hashes; `inverse` leads from each input hash to its position.

    `crowded` are positions whose pairs may be incomplete, `num_left_out` the comparisons between them that were not made.
    """

    unique: HashArray
    inverse: IndexArray
    first: IndexArray
    second: IndexArray
    distance: npt.NDArray[np.int64]
    crowded: IndexArray = field(default_factory=_none)
    num_left_out: int = 0


@dataclass(frozen=True)
class PairIndex:
    """Every pair within `radius` (first < second, as hashes) of the sorted distinct `hashes`: what a later search need not find again."""

    hashes: HashArray
    first: HashArray
    second: HashArray
    radius: int


def near_pairs(hashes: HashArray, radius: int, crowd_size: int = CROWD_SIZE, num_threads: int | None = None) -> HashPairs:
    """Every pair of distinct hashes that differ in at most `radius` bits (0 to 12), sorted; the same with any number of cores."""
    unique, inverse = np.unique(hashes, return_inverse=True)
    return hash_pairs(unique, inverse, search_part(unique, radius, crowd_size, num_threads=num_threads))


def near_pairs_between(
    index: PairIndex, hashes: HashArray, radius: int, crowd_size: int = CROWD_SIZE, num_threads: int | None = None
) -> HashPairs:
    """`near_pairs` of `hashes`, looking only for pairs of those that `index` does not hold; pairs of hashes that are gone are let go.

    An index of another radius, and a crowd, which an index never holds, cost a whole search.
    """
    unique, inverse = np.unique(hashes, return_inverse=True)
    is_new = ~np.isin(unique, index.hashes, assume_unique=True)
    whole = partial(search_part, unique, radius, crowd_size, num_threads=num_threads)
    if index.radius != radius or is_new.all():
        return hash_pairs(unique, inverse, whole())
    found = whole(is_new=is_new)
    if len(found.crowded):
        return hash_pairs(unique, inverse, whole())
    known = np.stack([index.first, index.second])
    places = np.searchsorted(unique, known)
    stays = (unique[np.minimum(places, len(unique) - 1)] == known).all(axis=0)
    codes = np.concatenate([places[0, stays] * len(unique) + places[1, stays], found.codes])
    return hash_pairs(unique, inverse, BucketPairs(codes, found.crowded, 0))


def with_crowds_between(pairs: HashPairs, left: npt.NDArray[np.bool_], right: npt.NDArray[np.bool_], radius: int) -> HashPairs:
    """`pairs` and every pair within `radius` of a crowded hash of one side with one of the other, compared one by one.

    `left` and `right` mark positions in `pairs.unique`. Between the two sides nothing is missing then, which a gate must rely on.
    """
    sides = [pairs.crowded[side[pairs.crowded]] for side in (left, right)]
    few, many = sorted(sides, key=len)
    codes = [pairs.first * len(pairs.unique) + pairs.second]
    for place in few:
        near = many[np.bitwise_count(pairs.unique[many] ^ pairs.unique[place]) <= radius]
        codes.append((np.minimum(near, place) * len(pairs.unique) + np.maximum(near, place))[near != place])
    return hash_pairs(pairs.unique, pairs.inverse, BucketPairs(np.unique(np.concatenate(codes)), pairs.crowded, pairs.num_left_out))


def pair_index(pairs: HashPairs, radius: int) -> PairIndex | None:
    """What `near_pairs_between` needs of a search with `radius`; None when a crowd left it incomplete."""
    if len(pairs.crowded):
        return None
    return PairIndex(pairs.unique, pairs.unique[pairs.first], pairs.unique[pairs.second], radius)


def num_search_parts(num_hashes: int, radius: int) -> int:
    """How many independent jobs the search of so many distinct hashes can be cut into."""
    return len(table_groups(num_hashes, radius)) if radius > 0 and num_hashes > 1 else 1


def search_part(
    unique: HashArray,
    radius: int,
    crowd_size: int = CROWD_SIZE,
    *,
    part: int = 0,
    num_parts: int = 1,
    num_threads: int | None = None,
    is_new: npt.NDArray[np.bool_] | None = None,
) -> BucketPairs:
    """What every `num_parts`-th group of tables from `part` on finds among sorted distinct hashes; all parts together find every pair
    once. With `is_new`, only pairs that a new hash takes part in."""
    if radius <= 0 or len(unique) < 2:
        return merged([])
    groups: Sequence[list[Table]] = table_groups(len(unique), radius)[part::num_parts]
    with ThreadPoolExecutor(num_threads or num_cores()) as pool:
        try:
            search = partial(group_pairs, unique, radius=radius, crowd_size=crowd_size, is_new=is_new)
            return merged(list(pool.map(search, groups)))
        finally:
            pool.shutdown(cancel_futures=True)


def hash_pairs(unique: HashArray, inverse: IndexArray, found: BucketPairs) -> HashPairs:
    """The pairs of `found`, whose codes are of `unique`, in order."""
    codes = np.sort(found.codes)
    first, second = np.divmod(codes, max(1, len(unique)))
    distance = np.bitwise_count(unique[first] ^ unique[second]).astype(np.int64)
    return HashPairs(unique, inverse.astype(np.int64, copy=False), first, second, distance, found.crowded, found.num_left_out)


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
