"""SimpleShot (Wang et al. 2019, "SimpleShot: Revisiting nearest-centroid classification for few-shot learning").

k support images per class are drawn from the benchmark's own images, all others are queries. The support's mean is subtracted from the
features, which are then scaled to unit length; a query is assigned to the nearest class centroid. N images, D embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.metrics.folds import measure_folds
from bioclip.evaluation.predictions import Predictions, Ranked, rank_answers
from bioclip.evaluation.statistics import Measurement
from bioclip.evaluation.tasks.task import TaskInput, TaskResult

if TYPE_CHECKING:
    from numpy.typing import NDArray


def run(given: TaskInput) -> TaskResult:
    """Every number of shots of the settings; the notes list the classes that each excludes for having fewer than k + 1 images."""
    measurements: list[Measurement] = []
    predictions: list[Predictions] = []
    notes = []
    names = [one.lineage[-1] for one in given.benchmark.classes]
    for shots in given.settings.shots:
        found = measure_few_shot(given.images, given.labels, given.item_ids, shots, given.settings.num_folds, given.settings.seed, names)
        measurements += found.measurements
        predictions += found.predictions
        left = {"left_out_classes": found.left_out_classes, "left_out_images": found.left_out_images}
        notes.append({"shots": shots, "num_classes": found.num_classes, **left})
    return TaskResult(measurements, predictions, {"few_shot": notes})


@dataclass(frozen=True)
class FewShot:
    """Measurements of one number of shots, the predictions of each fold, and the classes excluded for having fewer than k + 1 images."""

    measurements: list[Measurement]
    predictions: list[Predictions]
    num_classes: int
    left_out_classes: int
    left_out_images: int


def measure_few_shot(
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    keys: Sequence[str],
    shots: int,
    num_folds: int,
    seed: int,
    names: Sequence[str] = (),
) -> FewShot:
    """Accuracy over the queries of all folds together; `images` [N, D] are of unit length, `names` are the classes' names in outcomes.

    An image counts as often as it was a query.
    """
    sizes = np.bincount(labels)
    eligible = np.flatnonzero(sizes >= shots + 1)
    taking_part = np.isin(labels, eligible)
    left = (int((sizes > 0).sum()) - len(eligible), int((~taking_part).sum()))
    if len(eligible) < 2:
        return FewShot([], [], len(eligible), *left)
    shown = [names[label] if names else str(label) for label in eligible.tolist()]
    truth = np.where(taking_part, np.searchsorted(eligible, labels), 0)
    folds = []
    for fold in range(num_folds):
        support = draw_support(labels, keys, eligible, shots, seed, fold)
        asked = taking_part & ~np.isin(np.arange(len(labels)), support.ravel())
        queries = np.flatnonzero(asked)
        distances = centroid_distances(images.astype(np.float64), support, queries)
        folds.append(_fold(fold, shots, shown, asked, truth, rank_answers(-distances, truth[queries])))
    return FewShot(measure_folds(folds), folds, len(eligible), *left)


def _fold(
    fold: int,
    shots: int,
    names: Sequence[str],
    asked: NDArray[np.bool_],
    truth: NDArray[np.int64],
    ranked: Ranked,
) -> Predictions:
    def spread(values: NDArray[np.int64], other: int = 0) -> NDArray[np.int64]:
        everywhere = np.full((len(asked), *values.shape[1:]), other, dtype=np.int64)
        everywhere[asked] = values
        return everywhere

    return Predictions(
        task="few_shot",
        parameters={"shots": shots, "fold": fold, "rank": "species"},
        names=names,
        truth=truth,
        position=spread(ranked.position),
        top=spread(ranked.top),
        asked=asked,
        guess=np.full(len(names), 1 / len(names)),
        num_classes=len(names),
        num_tied=spread(ranked.num_tied, 1),
    )


def draw_support(
    labels: NDArray[np.int64], keys: Sequence[str], eligible: NDArray[np.int64], shots: int, seed: int, fold: int
) -> NDArray[np.int64]:
    """[classes, shots] positions of the support images: in each class those with the lowest hash of (seed, fold, key)."""
    hashes = [blake2b(f"{seed}/{fold}/{key}".encode(), digest_size=16).digest() for key in keys]
    rows = [sorted(np.flatnonzero(labels == label).tolist(), key=hashes.__getitem__)[:shots] for label in eligible]
    return np.array(rows, dtype=np.int64)


def centroid_distances(images: NDArray[np.float64], support: NDArray[np.int64], queries: NDArray[np.int64]) -> NDArray[np.float64]:
    """Squared Euclidean distance [queries, classes] from the `queries` among `images` [N, D] to the centroids of the `support`
    [classes, shots], both positions; images are centred by the mean of the support and scaled to unit length, as in SimpleShot (Wang et al.
    2019)."""
    mean = images[support.ravel()].mean(axis=0)
    centred = images - mean
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    centroids = centred[support].mean(axis=1)
    result: NDArray[np.float64] = (centroids**2).sum(axis=1) - 2 * centred[queries] @ centroids.T
    return result
