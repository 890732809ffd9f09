"""Differences of two models on the same images, by a bootstrap over units that draws both models together.

The interval is difference +- t * s. s is the standard error of the bootstrap times sqrt(K / (K - 1)) for K units, or that of the jackknife
if it is larger; Student's t has the effective number of units less one. In simulations this covers where the percentiles of the bootstrap
are too narrow for few species. A macro average over fixed classes has the variance within classes instead, as a class with two images is
too small to resample. Few-shot differences add the draw of the support. The answers to choose from are fixed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.statistics import Folds, Proportion, Units
from bioclip.evaluation.statistics.limits import student_quantile
from bioclip.evaluation.statistics.nested import support_variance
from bioclip.evaluation.statistics.scores import draw_units
from bioclip.evaluation.statistics.variances import jackknife_variance, stratified_variance

if TYPE_CHECKING:
    from numpy.typing import NDArray

PAIRED_BOOTSTRAP, PAIRED_STRATIFIED = "paired_bootstrap", "paired_stratified"
_ROUNDING = 1e-12


@dataclass(frozen=True)
class PairedHits:
    """Hits of two models in the same `trials` [N]; an image with 0 trials is excluded.

    `classes` [N] asks for the mean over classes. `folds` are the differences of few-shot hits by fold.
    """

    hits_a: NDArray[np.float64]
    hits_b: NDArray[np.float64]
    trials: NDArray[np.float64]
    classes: NDArray[np.int64] | None = None
    folds: Folds | None = None

    @property
    def difference(self) -> Proportion:
        """The share of a less that of b."""
        return Proportion(self.hits_a - self.hits_b, self.trials, self.classes, folds=self.folds)

    @property
    def share_a(self) -> float:
        """The share of hits of model a."""
        return Proportion(self.hits_a, self.trials, self.classes).value

    @property
    def share_b(self) -> float:
        """The share of hits of model b."""
        return Proportion(self.hits_b, self.trials, self.classes).value


@dataclass(frozen=True)
class DifferenceScore:
    """A difference with its 95 % interval and two-sided p-value, over `num_units` units."""

    value: float
    ci_low: float
    ci_high: float
    p_value: float
    num_units: int
    method: str


def difference_score(paired: PairedHits, units: Units, num_bootstraps: int, seed: int) -> DifferenceScore:
    """The score of one difference, see `difference_scores`."""
    return difference_scores([paired], units, num_bootstraps, seed)[0]


def difference_scores(paired: Sequence[PairedHits], units: Units, num_bootstraps: int, seed: int) -> list[DifferenceScore]:
    """The score of each of several differences on the same N images, whose units are drawn together."""
    differences = [one.difference for one in paired]
    errors = _bootstrap_variances([one for one in differences if not _is_stratified(one, units)], units, num_bootstraps, seed)
    remaining = iter(errors)
    return [_score(one, None if _is_stratified(one, units) else next(remaining), units) for one in differences]


def _is_stratified(difference: Proportion, units: Units) -> bool:
    return difference.classes is not None and units.kind != "species"


def _score(difference: Proportion, bootstrapped: float | None, units: Units) -> DifferenceScore:
    value, num_units = difference.value, units.count(difference.takes_part)
    if bootstrapped is None:
        within = stratified_variance(difference, units.numbers)
        variance, degrees, method = within.value, within.degrees, PAIRED_STRATIFIED
    else:
        left_out = jackknife_variance(difference, units.numbers)
        variance = max(bootstrapped * num_units / max(num_units - 1, 1), left_out.value if units.kind != "image" else 0.0)
        degrees, method = left_out.degrees, PAIRED_BOOTSTRAP
    if difference.folds is not None and units.kind != "species" and len(difference.folds.trials) > 1:
        variance += support_variance(difference, difference.folds)
    if variance <= _ROUNDING**2:
        return DifferenceScore(value, value, value, 1.0 if abs(value) <= _ROUNDING else 0.0, num_units, method)
    half = student_quantile(degrees) * math.sqrt(variance)
    return DifferenceScore(
        value, max(-1.0, value - half), min(1.0, value + half), _p_value(value / math.sqrt(variance), degrees), num_units, method
    )


def _p_value(ratio: float, degrees: float) -> float:
    from scipy.special import ndtr, stdtr

    return float(2 * (ndtr(-abs(ratio)) if math.isinf(degrees) else stdtr(degrees, -abs(ratio))))


def _bootstrap_variances(differences: Sequence[Proportion], units: Units, num_bootstraps: int, seed: int) -> list[float]:
    if not differences:
        return []
    numbers = np.unique(units.numbers, return_inverse=True)[1]
    resampled: list[list[NDArray[np.float64]]] = [[] for _ in differences]
    for drawn in draw_units(int(numbers.max()) + 1, num_bootstraps, seed, len(numbers)):
        counts = drawn[:, numbers]
        for values, one in zip(resampled, differences, strict=True):
            values.append(one(counts, None if units.kind == "image" else numbers))
    return [float(np.nanvar(np.concatenate(values))) for values in resampled]
