"""Scores: values with their 95 % intervals.

A share has Wilson's interval with the effective number of trials, value * (1 - value) / variance, and a quantile of Student's t in place of
the normal one; the variance and its degrees of freedom depend on the unit (`variances`, `nested`). At exactly 0 or 1, where no variance can
be estimated, it has the interval of Clopper and Pearson with as many trials as units. Any other statistic has the expanded percentile
interval of a bootstrap over the units. The intervals do not include the variation between training runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.statistics.limits import clopper_pearson, expanded_tail, student_quantile, wilson
from bioclip.evaluation.statistics.nested import nested_variance
from bioclip.evaluation.statistics.shares import Proportion
from bioclip.evaluation.statistics.units import Unit, Units
from bioclip.evaluation.statistics.variances import Variance, image_variance, jackknife_variance, stratified_variance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioclip.evaluation.statistics.measurements import Measurement, Statistic

BOOTSTRAP, CLUSTER_BOOTSTRAP, CLOPPER_PEARSON = "percentile_bootstrap", "cluster_bootstrap", "clopper_pearson"
_CHUNK_NUMBERS = 4_000_000
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Score:
    """A value with its 95 % interval, the interval's method, and the number and kind of units."""

    value: float
    ci_low: float
    ci_high: float
    num_units: int
    method: str
    unit: Unit = "image"


def score(measurements: Sequence[Measurement], num_bootstraps: int, seed: int, units: Units | None = None) -> list[Score]:
    """Score of each measurement; all are of the same N images, except shares with units of their own. The units are the images if `units`
    is None.

    Statistics that are no shares are resampled together, `num_bootstraps` times.
    """
    if not measurements:
        return []
    num_images = next((len(m.statistic.takes_part) for m in measurements if m.units is None), 0)
    chosen = Units.images(num_images) if units is None else units
    others = [m.statistic for m in measurements if not _is_share(m.statistic)]
    resampled = iter(_bootstrap(others, num_bootstraps, seed, chosen))
    return [score_share(m.statistic, m.units or chosen) if _is_share(m.statistic) else next(resampled) for m in measurements]


def score_share(statistic: Statistic, units: Units) -> Score:
    """The score of a share by the variance of its unit."""
    assert isinstance(statistic, Proportion)
    value, num_units = statistic.value, units.count(statistic.takes_part)
    if min(value, 1 - value) < _ROUNDING:
        exact = float(round(value))
        return Score(exact, *clopper_pearson(exact * num_units, num_units), num_units, CLOPPER_PEARSON, units.kind)
    variance = share_variance(statistic, units)
    most = float(statistic.takes_part.sum())
    num_effective = min(value * (1 - value) / variance.value, most) if variance.value > 0 else most
    if num_effective < _ROUNDING:
        return Score(value, 0.0, 1.0, num_units, variance.method, units.kind)
    return Score(value, *wilson(value, num_effective, student_quantile(variance.degrees)), num_units, variance.method, units.kind)


def share_variance(share: Proportion, units: Units) -> Variance:
    """The variance that fits the unit: nested for few-shot folds, over classes for a macro average, by the jackknife for species."""
    if units.kind == "species":
        return jackknife_variance(share, units.numbers)
    if share.folds is not None and len(share.folds.trials) > 1:
        return nested_variance(share, share.folds, units)
    if share.classes is not None:
        return stratified_variance(share, units.numbers)
    return image_variance(share) if units.kind == "image" else jackknife_variance(share, units.numbers)


def draw_units(num_units: int, num_bootstraps: int, seed: int, num_images: int) -> Iterator[NDArray[np.float64]]:
    """How often each unit is drawn, [resamples, units], some resamples at a time so that those of `num_images` fit in memory."""
    random = np.random.default_rng(seed)
    size = max(1, _CHUNK_NUMBERS // num_images)
    for first in range(0, num_bootstraps, size):
        num_rows = min(size, num_bootstraps - first)
        drawn = random.integers(num_units, size=(num_rows, num_units)) + np.arange(num_rows)[:, None] * num_units
        yield np.bincount(drawn.ravel(), minlength=num_rows * num_units).reshape(num_rows, num_units).astype(np.float64)


def _is_share(statistic: Statistic) -> bool:
    return isinstance(statistic, Proportion) and statistic.is_share


def _bootstrap(statistics: Sequence[Statistic], num_bootstraps: int, seed: int, units: Units) -> list[Score]:
    if not statistics:
        return []
    numbers = np.unique(units.numbers, return_inverse=True)[1]
    drawn_together = None if units.kind == "image" else numbers
    resampled: list[list[NDArray[np.float64]]] = [[] for _ in statistics]
    for drawn in draw_units(int(numbers.max()) + 1, num_bootstraps, seed, len(numbers)):
        counts = drawn[:, numbers]
        for values, statistic in zip(resampled, statistics, strict=True):
            values.append(statistic(counts, drawn_together))
    return [_percentiles(one, np.concatenate(values), units) for one, values in zip(statistics, resampled, strict=True)]


def _percentiles(statistic: Statistic, resampled: NDArray[np.float64], units: Units) -> Score:
    point = float(statistic(np.ones((1, len(units))), None)[0])
    num_units = units.count(statistic.takes_part)
    tail = expanded_tail(num_units, max(num_units - 1.0, 1.0))
    low, high = np.nanquantile(resampled, [tail, 1 - tail])
    return Score(point, float(low), float(high), num_units, BOOTSTRAP if units.kind == "image" else CLUSTER_BOOTSTRAP, units.kind)
