"""Accuracy of a few-shot classifier over folds: each fold draws another support and asks the images that are left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.statistics import Folds, Measurement, Proportion, Rivals

if TYPE_CHECKING:
    from bioclip.evaluation.predictions import Predictions

TOP = 5
FOLD = "fold"


def measure_folds(folds: Sequence[Predictions]) -> list[Measurement]:
    """Top-1, its mean over classes and top-5 (for more than five classes) over the queries of all folds together; an image counts as often
    as it was a query.

    The folds have the same N images and C classes, and the same parameters but for `fold`, which the measurements leave out; `shots` is
    among them. The classes are equally likely to be guessed.
    """
    first = folds[0]
    parameters = {name: value for name, value in first.parameters.items() if name != FOLD}
    num, trials = first.num_classes, np.sum([one.asked for one in folds], axis=0)
    sizes = np.sort(np.bincount(first.truth, weights=trials))[::-1] / trials.sum()

    def measured(metric: str, share: Proportion, top: int, majority: float) -> Measurement:
        return Measurement(first.task, parameters, metric, share, top / num, majority, num)

    results = [
        measured("top1", pool_folds(folds, 1), 1, float(sizes[0])),
        measured("macro_top1", pool_folds(folds, 1, is_macro=True), 1, 1 / num),
    ]
    return results if num <= TOP else [*results, measured("top5", pool_folds(folds, TOP), TOP, float(sizes[:TOP].sum()))]


def pool_folds(folds: Sequence[Predictions], top: int, is_macro: bool = False) -> Proportion:
    """The share of queries of all folds whose class is among the first `top` answers."""
    truth = folds[0].truth
    asked = np.stack([one.asked for one in folds]).astype(np.float64)
    hits = np.stack([one.credit(top) for one in folds]) * asked
    found = [one.rivals(top) for one in folds]
    image, rival = (np.concatenate(parts) for parts in ([one.image for one in found], [one.rival for one in found]))
    rivals = Rivals(truth, image, rival, np.concatenate([one.gain for one in found]))
    by_fold = Folds(hits, asked, truth, int(folds[0].parameters["shots"]))
    return Proportion(hits.sum(axis=0), asked.sum(axis=0), truth if is_macro else None, rivals, by_fold)
