"""The order of the samples in an epoch, and the random draws of one sample: pure functions of (seed, epoch, sample)."""

from __future__ import annotations

from hashlib import blake2b
from random import Random
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GOLDEN, _MIX_1, _MIX_2 = (np.uint64(x) for x in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def epoch_order(identity: NDArray[np.uint64], seed: int, epoch: int) -> NDArray[np.int64]:
    """Positions [N] sorted by a 64-bit hash of (seed, epoch, identity): SplitMix64 (Steele et al. 2014) of the identities, salted."""
    salt = np.uint64(int.from_bytes(blake2b(f"{seed}/{epoch}".encode(), digest_size=8).digest(), "big"))
    with np.errstate(over="ignore"):
        mixed = (identity ^ salt) + _GOLDEN
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX_1
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX_2
        mixed ^= mixed >> np.uint64(31)
    return np.lexsort((identity, mixed))


def sample_random(seed: int, epoch: int, key: str) -> Random:
    """The random draws of one sample in one epoch; reproducible."""
    return Random(int.from_bytes(blake2b(f"{seed}/{epoch}/{key}".encode(), digest_size=16).digest(), "big"))  # noqa: S311 - not a secret
