"""A keyed permutation of 0 to n - 1 that needs no memory: each image is computed alone.

A Feistel network with two alternating parts of the bits permutes the next power of two; numbers outside are permuted again until they
are inside ("cycle walking", Black and Rogaway 2002, Ciphers with arbitrary finite domains). Its round function is the finalizer of
SplitMix64 (Steele et al. 2014) with a key for each round. It is no cipher: the keys only have to give unrelated orders. Fewer numbers
than 256, for which such a network is biased, are sorted by their hashes.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NUM_ROUNDS, _MIN_SIZE = 8, 256
_GOLDEN, _MIX_1, _MIX_2 = (np.uint64(number) for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


class Permutation:
    """The permutation of `size` numbers that `key` names; equal on every machine."""

    def __init__(self, size: int, key: str) -> None:
        num_bits = (size - 1).bit_length()
        self._size, self._low_width, self._high_width = size, np.uint64(num_bits // 2), np.uint64(num_bits - num_bits // 2)
        self._keys = np.frombuffer(blake2b(key.encode(), digest_size=8 * _NUM_ROUNDS).digest(), dtype="<u8").astype(np.uint64)
        self._table = self._sorted_by_hash() if size < _MIN_SIZE else None

    def __call__(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Images [N] of numbers [N] from 0 to size - 1."""
        if self._table is not None:
            return self._table[numbers]
        images = self._permute(numbers.astype(np.uint64))
        while len(outside := np.flatnonzero(images >= self._size)):
            images[outside] = self._permute(images[outside])
        return images.astype(np.int64)

    def _sorted_by_hash(self) -> NDArray[np.int64]:
        hashes = mix(mix(np.arange(1, self._size + 1, dtype=np.uint64) * _GOLDEN + self._keys[0]) ^ self._keys[1])
        return np.argsort(hashes, kind="stable")

    def _permute(self, numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
        low_mask, high_mask = ((np.uint64(1) << width) - np.uint64(1) for width in (self._low_width, self._high_width))
        low, high = numbers & low_mask, numbers >> self._low_width
        for number in range(0, _NUM_ROUNDS, 2):
            low ^= mix(high ^ self._keys[number]) & low_mask
            high ^= mix(low ^ self._keys[number + 1]) & high_mask
        return (high << self._low_width) | low


def mix(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64: a bijection of 64-bit numbers whose output bits depend on all input bits."""
    mixed = (numbers ^ (numbers >> np.uint64(30))) * _MIX_1
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX_2
    return mixed ^ (mixed >> np.uint64(31))
