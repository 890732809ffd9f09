"""Accuracy of a few-shot classifier over folds: each fold draws another support and asks the images that are left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.statistics import Measurement, Proportion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioclip.evaluation.predictions import Predictions

TOP = 5
FOLD = "fold"


def measure_folds(folds: Sequence[Predictions]) -> list[Measurement]:
    """Top-1, its mean over classes and top-5 (for more than five classes) over the queries of all folds together; an image counts as often
    as it was a query.

    The folds have the same N images and C classes, and the same parameters but for `fold`, which the measurements leave out. The classes
    are equally likely to be guessed.
    """
    first = folds[0]
    parameters = {name: value for name, value in first.parameters.items() if name != FOLD}
    trials = _summed([one.asked.astype(np.float64) for one in folds])
    hits, top_hits = (_summed([one.credit(top) * one.asked for one in folds]) for top in (1, TOP))
    num = first.num_classes
    sizes = np.sort(np.bincount(first.truth, weights=trials))[::-1] / trials.sum()
    results = [
        Measurement(first.task, parameters, "top1", Proportion(hits, trials), 1 / num, float(sizes[0]), num),
        Measurement(first.task, parameters, "macro_top1", Proportion(hits, trials, first.truth), 1 / num, 1 / num, num),
    ]
    if num > TOP:
        results.append(Measurement(first.task, parameters, "top5", Proportion(top_hits, trials), TOP / num, float(sizes[:TOP].sum()), num))
    return results


def _summed(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    total: NDArray[np.float64] = np.sum(parts, axis=0)
    return total
