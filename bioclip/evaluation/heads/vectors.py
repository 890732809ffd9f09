"""Distinct rows of a matrix of features."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def distinct_rows(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(the distinct rows [K, D] in the order of their first appearance, the number of each row among them [C])."""
    number: dict[bytes, int] = {}
    digests = (blake2b(row, digest_size=16).digest() for row in np.ascontiguousarray(rows))
    of_row = np.array([number.setdefault(digest, len(number)) for digest in digests], dtype=np.int64)
    if len(number) == len(rows):
        return rows, of_row
    return rows[np.flatnonzero(np.diff(np.maximum.accumulate(of_row), prepend=-1))], of_row
