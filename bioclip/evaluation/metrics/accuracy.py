"""Accuracy: the share of images whose class is ranked first, or among the first five.

Where classes have the same score (two species with one prompt), an image counts by the probability of a hit under random tie-breaking.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.statistics import Measurement, Proportion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioclip.evaluation.predictions import Predictions

TOP = 5


def measure_top1(predictions: Predictions) -> Measurement:
    """Over all images. Chance is the mean probability that guessing gives the true class."""
    asked = predictions.asked
    chance = float(predictions.guess[predictions.truth[asked]].mean())
    return _measurement(predictions, "top1", 1, chance, _best_constant(predictions, 1))


def measure_macro_top1(predictions: Predictions) -> Measurement:
    """The mean of the accuracies of all classes."""
    present = np.unique(predictions.truth[predictions.asked])
    chance = float(predictions.guess[present].mean())
    return _measurement(predictions, "macro_top1", 1, chance, 1 / len(present), predictions.truth)


def measure_top5(predictions: Predictions) -> Measurement | None:
    """Top-5 accuracy at species rank; None for five classes or fewer."""
    if predictions.parameters.get("rank") != "species" or predictions.num_classes <= TOP:
        return None
    return _measurement(predictions, "top5", TOP, TOP / predictions.num_classes, _best_constant(predictions, TOP))


def _measurement(
    predictions: Predictions, metric: str, top: int, chance: float, majority: float, classes: NDArray[np.int64] | None = None
) -> Measurement:
    trials = predictions.asked.astype(np.float64)
    share = Proportion(predictions.credit(top) * trials, trials, classes, predictions.rivals(top))
    return Measurement(predictions.task, predictions.parameters, metric, share, chance, majority, predictions.num_classes)


def _best_constant(predictions: Predictions, top: int) -> float:
    """Accuracy of always predicting the `top` most frequent classes of these images."""
    sizes = np.sort(np.bincount(predictions.truth[predictions.asked]))[::-1]
    return float(sizes[:top].sum() / sizes.sum())
