"""Hits of a few-shot classifier by fold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Folds:
    """`hits` and `trials` [F, N] of N images in F folds; each fold draws `shots` support images per class and asks the class's others.

    `classes` [N] is the class of each image.
    """

    hits: NDArray[np.float64]
    trials: NDArray[np.float64]
    classes: NDArray[np.int64]
    shots: int
