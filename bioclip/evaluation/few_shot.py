"""SimpleShot (Wang et al. 2019, "SimpleShot: Revisiting nearest-centroid classification for few-shot learning").

k support images a class are drawn from the benchmark's own images, all others are queries. Features lose the support's mean and are
scaled to unit length; a query goes to the nearest class centroid. N images, D embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.statistics import Measurement, num_better

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOP = 5


@dataclass(frozen=True)
class FewShot:
    """Measurements of one number of shots, and what had to be left out because a class has no k + 1 images."""

    measurements: list[Measurement]
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
) -> FewShot:
    """Accuracy over the queries of all folds together; `images` [N, D] are of unit length.

    An image is the unit of the interval: it counts as often as it was a query.
    """
    sizes = np.bincount(labels)
    eligible = np.flatnonzero(sizes >= shots + 1)
    taking_part = np.isin(labels, eligible)
    left = (int((sizes > 0).sum()) - len(eligible), int((~taking_part).sum()))
    if len(eligible) < 2:
        return FewShot([], len(eligible), *left)
    hits, top_hits, trials = (np.zeros(len(labels)) for _ in range(3))
    for fold in range(num_folds):
        support = draw_support(labels, keys, eligible, shots, seed, fold)
        queries = np.flatnonzero(taking_part & ~np.isin(np.arange(len(labels)), support.ravel()))
        distances = _distances(images.astype(np.float64), support, queries)
        nearer = num_better(-distances, np.searchsorted(eligible, labels[queries]))
        hits[queries] += nearer == 0
        top_hits[queries] += nearer < TOP
        trials[queries] += 1
    num = len(eligible)
    results = [
        Measurement("few_shot", "", "species", shots, "top1", hits, trials, 1 / num, num),
        Measurement("few_shot", "", "species", shots, "macro_top1", hits, trials, 1 / num, num, labels),
    ]
    if num > TOP:
        results.append(Measurement("few_shot", "", "species", shots, "top5", top_hits, trials, TOP / num, num))
    return FewShot(results, num, *left)


def draw_support(
    labels: NDArray[np.int64], keys: Sequence[str], eligible: NDArray[np.int64], shots: int, seed: int, fold: int
) -> NDArray[np.int64]:
    """[classes, shots] positions of the support images: in each class those with the lowest hash of (seed, fold, key)."""
    hashes = [blake2b(f"{seed}/{fold}/{key}".encode(), digest_size=16).digest() for key in keys]
    rows = [sorted(np.flatnonzero(labels == label).tolist(), key=hashes.__getitem__)[:shots] for label in eligible]
    return np.array(rows, dtype=np.int64)


def _distances(images: NDArray[np.float64], support: NDArray[np.int64], queries: NDArray[np.int64]) -> NDArray[np.float64]:
    """Squared Euclidean distance [queries, classes] to the centroids."""
    mean = images[support.ravel()].mean(axis=0)
    centred = images - mean
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    centroids = centred[support].mean(axis=1)
    result: NDArray[np.float64] = (centroids**2).sum(axis=1) - 2 * centred[queries] @ centroids.T
    return result
