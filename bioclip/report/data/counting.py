"""Counts over columns read in batches; memory grows with the number of distinct values, not with the rows."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Integers = npt.NDArray[np.int64]


class StringIndex:
    """Numbers strings from 0 in order of their first appearance."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def encode(self, column: pa.ChunkedArray) -> Integers:
        """The number of each value [rows]; null counts as the empty string."""
        encoded = column.combine_chunks().dictionary_encode()
        known = [self._places.setdefault(value, len(self._places)) for value in encoded.dictionary.to_pylist()]
        places = encoded.indices
        if places.null_count:
            places, known = places.fill_null(len(known)), [*known, self._places.setdefault("", len(self._places))]
        numbered: Integers = np.array(known, np.int64)[places.to_numpy(zero_copy_only=False)]
        return numbered

    def __len__(self) -> int:
        return len(self._places)

    @property
    def names(self) -> list[str]:
        """The strings in order of their numbers."""
        return list(self._places)


class IndexCounter:
    """Counts how often each non-negative integer occurs."""

    def __init__(self) -> None:
        self._counts: Integers = np.zeros(0, np.int64)

    def add(self, places: Integers) -> None:
        """Count each of `places` once."""
        counts = np.bincount(places)
        if len(counts) > len(self._counts):
            self._counts = np.concatenate([self._counts, np.zeros(max(len(counts), 2 * len(self._counts)) - len(self._counts), np.int64)])
        self._counts[: len(counts)] += counts

    def of(self, length: int) -> Integers:
        """Counts of the integers below `length`, which must exceed every integer that was added."""
        counts = np.zeros(length, np.int64)
        counts[: min(length, len(self._counts))] = self._counts[:length]
        return counts


class DistinctNumbers:
    """The distinct 64-bit integers among those added; 8 bytes each."""

    _FOLD_AT = 1 << 20

    def __init__(self) -> None:
        self._seen: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self._new: list[npt.NDArray[np.uint64]] = []
        self._num_new = 0

    def add(self, numbers: npt.NDArray[np.uint64]) -> None:
        """Add `numbers`."""
        self._new.append(_distinct(numbers.copy()))
        self._num_new += len(self._new[-1])
        if self._num_new >= max(self._FOLD_AT, len(self._seen) // 4):
            self.values()

    def values(self) -> npt.NDArray[np.uint64]:
        """The distinct integers, ascending."""
        if self._new:
            self._seen = _distinct(np.concatenate([self._seen, *self._new]))
            self._new, self._num_new = [], 0
        return self._seen

    def __len__(self) -> int:
        return len(self.values())


def _distinct(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Like `numpy.unique`, but sorts in place, which is much faster than the hash table of newer numpy versions."""
    numbers.sort()
    is_first = np.ones(len(numbers), bool)
    np.not_equal(numbers[1:], numbers[:-1], out=is_first[1:])
    return numbers[is_first]


def hash_strings(texts: Iterable[str]) -> npt.NDArray[np.uint64]:
    """A 64-bit hash (BLAKE2b) of each text; among 200 million distinct texts a collision has a probability of 0.1 %."""
    digests = (hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return np.frombuffer(b"".join(digests), np.uint64)


def sizes_of(counts: Integers) -> dict[int, int]:
    """Size -> number of counts of that size, largest first; zeros are excluded."""
    return dict(sorted(Counter(counts[counts > 0].tolist()).items(), reverse=True))


class SmallestKeys:
    """Keeps the `cap` entries with the smallest keys, in any order of offering, so that every run chooses the same."""

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._entries: dict[str, Any] = {}
        self._largest = ""

    def offer(self, key: str, value: Any) -> None:
        """Keep `value` unless `cap` smaller keys are known."""
        if len(self._entries) >= self._cap and key >= self._largest:
            return
        self._entries[key] = value
        if len(self._entries) > self._cap:
            del self._entries[self._largest]
        self._largest = max(self._entries)

    def values(self) -> list[Any]:
        """The kept values, ordered by key."""
        return [self._entries[key] for key in sorted(self._entries)]


def most_frequent(counted: Iterable[tuple[Any, int]], cap: int) -> list[tuple[Any, int]]:
    """The `cap` entries with the largest counts, ties in order of the entry."""
    return heapq.nsmallest(cap, counted, key=lambda entry: (-entry[1], entry[0]))
