"""Sampling variances of shares over images, observations and species.

Each estimate states its degrees of freedom and the name of its interval's method. N images, K units, C classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.statistics.shares import are_the_same_groups

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioclip.evaluation.statistics.shares import Proportion

WILSON, STRATIFIED, JACKKNIFE, NESTED = "wilson", "wilson_stratified", "wilson_jackknife", "wilson_nested"


@dataclass(frozen=True)
class Variance:
    """A variance, its degrees of freedom and the method of the interval that is made of it."""

    value: float
    degrees: float
    method: str


def image_variance(share: Proportion) -> Variance:
    """Of the share of N independent images; for hits of 0 and 1 it is p (1 - p) / N."""
    residuals = share.hits - share.value * share.trials
    return Variance(float((residuals**2).sum() / share.trials.sum() ** 2), math.inf, WILSON)


def stratified_variance(share: Proportion, numbers: NDArray[np.int64]) -> Variance:
    """Of the mean over C fixed classes, in each of which the images of one number vary together.

    A class with a single unit has the pooled variance of the others. Degrees of freedom: units less classes (Korn and Graubard 1999,
    "Analysis of health surveys", section 2.4).
    """
    assert share.classes is not None
    asked = share.takes_part
    pairs, of_pair = np.unique(np.stack([share.classes[asked], numbers[asked]]), axis=1, return_inverse=True)
    classes, of_class = np.unique(pairs[0], return_inverse=True)
    hits, trials = (np.bincount(of_pair.ravel(), weights=values[asked]) for values in (share.hits, share.trials))
    num_units, class_trials = np.bincount(of_class), np.bincount(of_class, weights=trials)
    class_shares = np.bincount(of_class, weights=hits) / class_trials
    squares = np.bincount(of_class, weights=((hits - class_shares[of_class] * trials) / class_trials[of_class]) ** 2)
    degrees = num_units - 1
    of_one_unit = squares * num_units**2 / np.maximum(degrees, 1)
    if not degrees.any():
        return Variance(share.value * (1 - share.value) / len(classes), math.inf, STRATIFIED)
    pooled = float((degrees * of_one_unit).sum() / degrees.sum())
    total = np.where(degrees > 0, of_one_unit, pooled) / num_units
    return Variance(float(total.sum() / len(classes) ** 2), float(degrees.sum()), STRATIFIED)


def jackknife_variance(share: Proportion, numbers: NDArray[np.int64]) -> Variance:
    """Of a share over units that are drawn with all their images, by leaving out one unit after another.

    Where the units are the classes, a left-out species is no answer either (`share.rivals`); with few-shot folds it takes its support with
    it, so that the draws of the class, of its support and of its queries are all included. The jackknife is biased upwards only (Efron
    and Stein 1981). Degrees of freedom: the effective number of units less one (Kish 1965; Carter, Schnepel and Steigerwald 2017).
    """
    without = leave_one_out(share, numbers)
    num_units = len(without)
    if num_units < 2:
        return Variance(math.inf, 1.0, JACKKNIFE)
    value = (num_units - 1) / num_units * float(((without - without.mean()) ** 2).sum())
    return Variance(value, max(effective_units(share, numbers) - 1, 1.0), JACKKNIFE)


def leave_one_out(share: Proportion, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """[K] the share without each unit that takes part, in the order of their numbers."""
    asked = share.takes_part
    kept, of_unit = np.unique(numbers[asked], return_inverse=True)
    if share.classes is None:
        hits, trials = (np.bincount(of_unit, weights=values[asked]) for values in (share.hits, share.trials))
        gains = _gains(share, numbers, kept, np.ones(len(numbers)))
        return _divide(hits.sum() - hits + gains, trials.sum() - trials)
    classes, of_class = np.unique(share.classes[asked], return_inverse=True)
    pairs, of_pair = np.unique(np.stack([of_unit, of_class]), axis=1, return_inverse=True)
    totals = [np.bincount(of_class, weights=values[asked]) for values in (share.hits, share.trials)]
    hits, trials = (np.bincount(of_pair.ravel(), weights=values[asked]) for values in (share.hits, share.trials))
    shares, left = totals[0] / totals[1], totals[1][pairs[1]] - trials
    is_left = left > 1e-9
    changes = np.where(is_left, (totals[0][pairs[1]] - hits) / np.where(is_left, left, 1), 0) - shares[pairs[1]]
    num_gone = np.bincount(pairs[0], weights=(~is_left).astype(np.float64))
    weights = np.zeros(len(numbers))
    weights[asked] = 1 / totals[1][of_class]
    summed = shares.sum() + np.bincount(pairs[0], weights=changes) + _gains(share, numbers, kept, weights)
    num_left = np.asarray(len(classes) - num_gone, dtype=np.float64)
    return _divide(summed, num_left)


def effective_units(share: Proportion, numbers: NDArray[np.int64]) -> float:
    """Kish's effective number of units: (sum of weights) squared over the sum of squared weights."""
    weights = share.trials.copy()
    if share.classes is not None:
        totals = np.bincount(share.classes, weights=share.trials)
        weights = np.divide(weights, totals[share.classes], out=np.zeros_like(weights), where=weights > 0)
    by_unit = np.bincount(np.unique(numbers, return_inverse=True)[1], weights=weights)
    return float(by_unit.sum() ** 2 / (by_unit**2).sum())


def _gains(share: Proportion, numbers: NDArray[np.int64], kept: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """[K] what the other units would gain without each of the units `kept`, each image with a weight [N]."""
    rivals = share.rivals
    if rivals is None or not len(rivals.image) or not are_the_same_groups(rivals.classes[share.takes_part], numbers[share.takes_part]):
        return np.zeros(len(kept))
    unit_of_class = np.full(int(max(rivals.classes.max(), rivals.rival.max())) + 1, -1, dtype=np.int64)
    asked = share.takes_part
    unit_of_class[rivals.classes[asked]] = np.searchsorted(kept, numbers[asked])
    units = unit_of_class[rivals.rival]
    inside = units >= 0
    gains = np.bincount(units[inside], (rivals.gain * weights[rivals.image])[inside], len(kept))
    return np.asarray(gains, dtype=np.float64)


def _divide(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator > 0)
    return result
