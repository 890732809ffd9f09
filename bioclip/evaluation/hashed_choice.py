"""Choices by a hash of names, so that they depend on the names and the seed alone, not on order or on what else is there."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def hash_parts(*parts: str | int) -> bytes:
    """16 bytes that depend on `parts`, in order."""
    return blake2b("/".join(map(str, parts)).encode(), digest_size=16).digest()


def hash_number(*parts: str | int) -> int:
    """A number of 128 bits that depends on `parts`, in order."""
    return int.from_bytes(hash_parts(*parts), "big")


def choose_some(names: Sequence[str], most: int, seed: int) -> NDArray[np.int64]:
    """Positions of at most `most` of `names`, ascending: those with the lowest hashes of (seed, name)."""
    if len(names) <= most:
        return np.arange(len(names))
    hashes = [hash_parts(seed, name) for name in names]
    return np.sort(np.array(sorted(range(len(names)), key=hashes.__getitem__)[:most], dtype=np.int64))
