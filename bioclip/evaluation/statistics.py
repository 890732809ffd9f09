"""Values of measurements with their 95 % intervals; each interval states its method and its unit.

The default is the percentile bootstrap (Efron and Tibshirani 1993): units are drawn with replacement, as many as there are, and the
statistic is recomputed. The unit `image` gives the interval for other images of the same species. The unit `species` draws whole
species with all their images (the cluster bootstrap, Davison and Hinkley 1997, section 3.8) and gives the interval for other species; it
is used where the species are a sample, as in held-out species. Neither interval includes the variation between training runs or between
few-shot supports.

A share of exactly 0 or 1 would have a bootstrap interval of zero width, so it gets the
exact interval of Clopper and Pearson (1934) instead, with as many trials as there are units.
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
TIE_MARGIN = 1e-12
BOOTSTRAP, CLUSTER_BOOTSTRAP, CLOPPER_PEARSON = "percentile_bootstrap", "cluster_bootstrap", "clopper_pearson"


class Statistic(Protocol):
    """A number computed from N images, each with a count."""

    @property
    def takes_part(self) -> NDArray[np.bool_]:
        """[N] True for the images that the statistic depends on."""

    @property
    def is_share(self) -> bool:
        """True for a share of trials, whose interval at 0 and 1 is exact."""

    def __call__(self, counts: NDArray[np.float64], units: NDArray[np.int64] | None) -> NDArray[np.float64]:
        """[R] the statistic for each of R rows of image counts [R, N]; NaN where it is undefined. Images with equal `units` [N] are
        drawn together; None draws each image separately."""


@dataclass(frozen=True)
class Proportion:
    """`hits` [N] of `trials` [N]; an image with 0 trials is excluded.

    With `classes` [N] the mean over classes of each one's share (macro average), without it the share over all. Hits may be any number:
    with 1 trial each, the share is their mean.
    """

    hits: NDArray[np.float64]
    trials: NDArray[np.float64]
    classes: NDArray[np.int64] | None = None

    @property
    def takes_part(self) -> NDArray[np.bool_]:
        """See Statistic."""
        return self.trials > 0

    @property
    def is_share(self) -> bool:
        """See Statistic."""
        return bool((self.hits >= 0).all() and (self.hits <= self.trials).all())

    def __call__(self, counts: NDArray[np.float64], units: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """See Statistic."""
        if self.classes is None:
            return _ratio(counts @ self.hits, counts @ self.trials)
        order = np.argsort(self.classes, kind="stable")
        starts = np.flatnonzero(np.diff(self.classes[order], prepend=-1))
        hits = np.add.reduceat((counts * self.hits)[:, order], starts, axis=1)
        trials = np.add.reduceat((counts * self.trials)[:, order], starts, axis=1)
        weights = (trials > 0).astype(np.float64)
        shares = np.where(trials > 0, hits / np.where(trials > 0, trials, 1), 0)
        if units is not None and _are_the_same_groups(self.classes, units):
            weights *= counts[:, order[starts]]  # a class that was drawn twice counts twice
        return _ratio((shares * weights).sum(axis=1), weights.sum(axis=1))


@dataclass(frozen=True)
class Measurement:
    """One number about N images: how it is computed, under which parameters, and what it is compared with.

    `chance` is the value of guessing and `majority` that of the best constant answer, None if the metric has no such level.
    `num_classes` is None if there are no classes.
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
    """A value with its 95 % interval, the interval's method, and the number and kind of units."""

    value: float
    ci_low: float
    ci_high: float
    num_units: int
    method: str = BOOTSTRAP
    unit: str = "image"


def score(measurements: Sequence[Measurement], num_bootstraps: int, seed: int, species: NDArray[np.int64] | None = None) -> list[Score]:
    """Score of each measurement; all are of the same N images and are resampled together.

    `species` [N] is the number of each image's species. Species are the units if it is given, images if it is None.
    """
    num_images = len(measurements[0].statistic.takes_part)
    units = np.arange(num_images) if species is None else np.unique(species, return_inverse=True)[1]
    points = [m.statistic(np.ones((1, num_images)), None)[0] for m in measurements]
    resampled: list[list[NDArray[np.float64]]] = [[] for _ in measurements]
    for drawn in _resamples(int(units.max()) + 1, num_bootstraps, seed, num_images):
        counts = drawn[:, units]
        for values, measurement in zip(resampled, measurements, strict=True):
            values.append(measurement.statistic(counts, None if species is None else units))
    unit = "image" if species is None else "species"
    return [
        _score(measurement, float(point), np.concatenate(chunks), units, unit)
        for measurement, point, chunks in zip(measurements, points, resampled, strict=True)
    ]


def clopper_pearson(num_hits: float, num_trials: int) -> tuple[float, float]:
    """Limits of the exact 95 % interval of a share."""
    from scipy.stats import beta

    tail = _TAIL_PERCENT / 100
    low = 0.0 if num_hits <= 0 else float(beta.ppf(tail, num_hits, num_trials - num_hits + 1))
    high = 1.0 if num_hits >= num_trials else float(beta.ppf(1 - tail, num_hits + 1, num_trials - num_hits))
    return low, high


def _score(measurement: Measurement, point: float, resampled: NDArray[np.float64], units: NDArray[np.int64], unit: str) -> Score:
    num_units = len(np.unique(units[measurement.statistic.takes_part]))
    if measurement.statistic.is_share and point in {0.0, 1.0}:
        low, high = clopper_pearson(point * num_units, num_units)
        return Score(point, low, high, num_units, CLOPPER_PEARSON, unit)
    low, high = np.nanpercentile(resampled, [_TAIL_PERCENT, 100 - _TAIL_PERCENT])
    return Score(point, float(low), float(high), num_units, BOOTSTRAP if unit == "image" else CLUSTER_BOOTSTRAP, unit)


def place_truth(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """([N] number of classes with a higher score than the true one, [N] number of classes with the same score, the true one included).

    `scores` [N, C]. Scores are the same if they differ by no more than the rounding of a sum, 1e-12 relative.
    """
    truth = np.take_along_axis(scores, labels[:, None], axis=1)
    margin = TIE_MARGIN * np.abs(truth)
    num_better: NDArray[np.int64] = (scores > truth + margin).sum(axis=1)
    num_tied: NDArray[np.int64] = (np.abs(scores - truth) <= margin).sum(axis=1)
    return num_better, num_tied


def top_credit(num_better: NDArray[np.int64], num_tied: NDArray[np.int64], top: int) -> NDArray[np.float64]:
    """[N] probability that the true class is among the first `top` if ties are broken at random.

    With b classes better than the truth and t tied with it (itself included) this is min(max((top - b) / t, 0), 1): for top-1 it is 1 / t
    where the truth shares the first place. A model that gives every class the same score is thus correct as often as chance, and the order
    of the classes has no effect (McSherry and Najork 2008, "Computing information retrieval performance measures efficiently in the
    presence of tied scores").
    """
    credit: NDArray[np.float64] = np.clip((top - num_better) / num_tied, 0, 1)
    return credit


def _resamples(num_units: int, num_bootstraps: int, seed: int, num_images: int) -> Iterator[NDArray[np.float64]]:
    """How often each unit is drawn, [resamples, units], some resamples at a time so that those of `num_images` fit in memory."""
    random = np.random.default_rng(seed)
    size = max(1, _CHUNK_NUMBERS // num_images)
    for first in range(0, num_bootstraps, size):
        num_rows = min(size, num_bootstraps - first)
        drawn = random.integers(num_units, size=(num_rows, num_units)) + np.arange(num_rows)[:, None] * num_units
        yield np.bincount(drawn.ravel(), minlength=num_rows * num_units).reshape(num_rows, num_units).astype(np.float64)


def _are_the_same_groups(one: NDArray[np.int64], other: NDArray[np.int64]) -> bool:
    """True if two numberings of N images form the same groups."""
    pairs = np.unique(np.stack([one, other]), axis=1).shape[1]
    return bool(pairs == len(np.unique(one)) == len(np.unique(other)))


def _ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.where(denominator > 0, numerator / np.where(denominator > 0, denominator, 1), np.nan)
    return result
