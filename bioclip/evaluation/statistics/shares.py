"""Shares of trials: accuracies over all images (micro average) or as the mean over classes (macro average)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioclip.evaluation.statistics.folds import Folds


@dataclass(frozen=True)
class Rivals:
    """What images would gain if a class that ranks above or beside their own were absent.

    Image `image` [M] would have `gain` [M] more hits without class `rival` [M]; `classes` [N] is the class of each image.
    """

    classes: NDArray[np.int64]
    image: NDArray[np.int64]
    rival: NDArray[np.int64]
    gain: NDArray[np.float64]


@dataclass(frozen=True)
class Proportion:
    """`hits` [N] of `trials` [N]; an image with 0 trials is excluded.

    With `classes` [N] the mean over classes of each one's share (macro average), without it the share over all. Hits may be any number:
    with 1 trial each, the share is their mean. `rivals` add to an interval over species what a species takes from the others, `folds` to
    an interval over images what the draw of the support adds.
    """

    hits: NDArray[np.float64]
    trials: NDArray[np.float64]
    classes: NDArray[np.int64] | None = None
    rivals: Rivals | None = None
    folds: Folds | None = None

    @property
    def takes_part(self) -> NDArray[np.bool_]:
        """See Statistic."""
        return self.trials > 0

    @property
    def is_share(self) -> bool:
        """See Statistic."""
        return bool((self.hits >= 0).all() and (self.hits <= self.trials).all())

    @property
    def value(self) -> float:
        """The share; NaN without trials."""
        return float(self(np.ones((1, len(self.hits))))[0])

    def __call__(self, counts: NDArray[np.float64], units: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """See Statistic."""
        if self.classes is None:
            return ratio(counts @ self.hits, counts @ self.trials)
        order = np.argsort(self.classes, kind="stable")
        starts = np.flatnonzero(np.diff(self.classes[order], prepend=-1))
        hits = np.add.reduceat((counts * self.hits)[:, order], starts, axis=1)
        trials = np.add.reduceat((counts * self.trials)[:, order], starts, axis=1)
        weights = (trials > 0).astype(np.float64)
        shares = np.where(trials > 0, hits / np.where(trials > 0, trials, 1), 0)
        if units is not None and are_the_same_groups(self.classes, units):
            weights *= counts[:, order[starts]]  # a class that was drawn twice counts twice
        return ratio((shares * weights).sum(axis=1), weights.sum(axis=1))


def are_the_same_groups(one: NDArray[np.int64], other: NDArray[np.int64]) -> bool:
    """True if two numberings of N images form the same groups."""
    pairs = np.unique(np.stack([one, other]), axis=1).shape[1]
    return bool(pairs == len(np.unique(one)) == len(np.unique(other)))


def ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """`numerator` / `denominator`, NaN where that is 0."""
    result: NDArray[np.float64] = np.where(denominator > 0, numerator / np.where(denominator > 0, denominator, 1), np.nan)
    return result
