"""Values of measurements with their intervals.

An interval is the 95 % percentile bootstrap over images (Efron and Tibshirani 1993): images are drawn with replacement, as many as there
are, and the statistic is computed again. It tells how far the value would move with other images, not with other species or another
training. A share of exactly 0 or 1 gets an interval without width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Parameter = str | int | float
_CHUNK_NUMBERS = 4_000_000
_TAIL_PERCENT = 2.5


class Statistic(Protocol):
    """A number computed from N images, each counted a number of times."""

    @property
    def takes_part(self) -> NDArray[np.bool_]:
        """[N] True for the images that the number depends on."""

    def __call__(self, counts: NDArray[np.float64], units: NDArray[np.int64] | None) -> NDArray[np.float64]:
        """[R] the number under each of R rows of image counts [R, N]; NaN where it is not defined. `units` [N] tells which images are
        always drawn together, None that each is drawn alone."""


@dataclass(frozen=True)
class Share:
    """`hits` [N] of `trials` [N]; an image with 0 trials takes no part.

    With `classes` [N] the mean over classes of each one's share (macro average), without it the share over all. Hits may be any number:
    with trials of 1 the share is their mean.
    """

    hits: NDArray[np.float64]
    trials: NDArray[np.float64]
    classes: NDArray[np.int64] | None = None

    @property
    def takes_part(self) -> NDArray[np.bool_]:
        """See Statistic."""
        return self.trials > 0

    def __call__(self, counts: NDArray[np.float64], units: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """See Statistic."""
        if self.classes is None:
            return _ratio(counts @ self.hits, counts @ self.trials)
        order = np.argsort(self.classes, kind="stable")
        starts = np.flatnonzero(np.diff(self.classes[order], prepend=-1))
        hits = np.add.reduceat((counts * self.hits)[:, order], starts, axis=1)
        trials = np.add.reduceat((counts * self.trials)[:, order], starts, axis=1)
        present = trials > 0
        shares = np.where(present, hits / np.where(present, trials, 1), 0)
        return _ratio(shares.sum(axis=1), present.sum(axis=1).astype(np.float64))


@dataclass(frozen=True)
class Measurement:
    """One number about N images: how it is computed, under which parameters, and what it is compared with.

    `chance` is what guessing reaches and `majority` what the best constant answer does, None where the metric has no such level.
    `num_classes` is None where there was nothing to choose from.
    """

    task: str
    parameters: Mapping[str, Parameter]
    metric: str
    statistic: Statistic
    chance: float | None = None
    majority: float | None = None
    num_classes: int | None = None


@dataclass(frozen=True)
class Score:
    """A value with the ends of its 95 % interval, how the interval was made, and of what."""

    value: float
    ci_low: float
    ci_high: float
    num_units: int
    method: str = "percentile_bootstrap"
    unit: str = "image"


def score(measurements: Sequence[Measurement], num_bootstraps: int, seed: int) -> list[Score]:
    """Score of each measurement; all are of the same N images and are resampled together."""
    num_images = len(measurements[0].statistic.takes_part)
    points = [m.statistic(np.ones((1, num_images)), None)[0] for m in measurements]
    resampled: list[list[NDArray[np.float64]]] = [[] for _ in measurements]
    for counts in _resamples(num_images, num_bootstraps, seed):
        for values, measurement in zip(resampled, measurements, strict=True):
            values.append(measurement.statistic(counts, None))
    results = []
    for measurement, point, chunks in zip(measurements, points, resampled, strict=True):
        low, high = np.nanpercentile(np.concatenate(chunks), [_TAIL_PERCENT, 100 - _TAIL_PERCENT])
        results.append(Score(float(point), float(low), float(high), int(measurement.statistic.takes_part.sum())))
    return results


def num_better(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """[N] how many of the C answers in `scores` [N, C] come before the true one; among equal scores the lower class comes first.

    So a model that gives every class the same score is right as often as chance, not always.
    """
    truth = np.take_along_axis(scores, labels[:, None], axis=1)
    lower = np.arange(scores.shape[1]) < labels[:, None]
    num: NDArray[np.int64] = ((scores > truth) | ((scores == truth) & lower)).sum(axis=1)
    return num


def _resamples(num_units: int, num_bootstraps: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each unit is drawn, [resamples, units], some resamples at a time."""
    random = np.random.default_rng(seed)
    size = max(1, _CHUNK_NUMBERS // num_units)
    for first in range(0, num_bootstraps, size):
        num_rows = min(size, num_bootstraps - first)
        drawn = random.integers(num_units, size=(num_rows, num_units)) + np.arange(num_rows)[:, None] * num_units
        yield np.bincount(drawn.ravel(), minlength=num_rows * num_units).reshape(num_rows, num_units).astype(np.float64)


def _ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.where(denominator > 0, numerator / np.where(denominator > 0, denominator, 1), np.nan)
    return result
