"""Choice of hyperparameters within the support, by stratified cross-validation. Queries are never seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from bioclip.evaluation.statistics import place_truth, top_credit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioclip.evaluation.classifiers.classifier import Support

T = TypeVar("T")
MAX_PARTS = 3


def split_support(support: Support) -> list[tuple[Support, Support]]:
    """(support to fit, support to score) for each part; [] if some class has one image.

    The number of parts is that of the images of the smallest class, but at most 3. The j-th image of a class is in part j modulo their
    number, so that each class is in both supports of each pair.
    """
    counts = np.bincount(support.labels, minlength=support.num_classes)
    num_parts = min(MAX_PARTS, int(counts.min()))
    if num_parts < 2:
        return []
    order = np.argsort(support.labels, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    parts = [place % num_parts == part for part in range(num_parts)]
    return [(support.take(np.flatnonzero(~part)), support.take(np.flatnonzero(part))) for part in parts]


def select(support: Support, candidates: Sequence[T], accuracies: Callable[[Support, Support], Sequence[float]], default: T) -> T:
    """The candidate with the best mean accuracy over the parts, the first of several; `default` if the support cannot be split.

    `accuracies(fitted, held)` returns one accuracy per candidate on the images of `held` after fitting on those of `fitted`.
    """
    splits = split_support(support)
    if not splits:
        return default
    means = np.mean([accuracies(fitted, held) for fitted, held in splits], axis=0)
    return candidates[int(np.argmax(means))]


def accuracy(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The share of the rows of `scores` [Q, C] whose best class is the label; ties count by chance."""
    return float(top_credit(*place_truth(scores, labels), 1).mean())
