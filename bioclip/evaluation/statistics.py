"""Scores with their intervals.

An interval is the 95 % percentile bootstrap over images (Efron and Tibshirani 1993): images are drawn with replacement, as many as there
are, and the score is taken again. It tells how far the score would move with other images, not with other species or another training.
A score of exactly 0 or 1 gets an interval without width: resampling cannot show what was never seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHUNK_NUMBERS = 4_000_000
_TAIL_PERCENT = 2.5


@dataclass(frozen=True)
class Measurement:
    """Answers to one question about N images.

    `hits` [N] of `trials` [N] answers were right; an image with 0 trials takes no part. With `classes` [N] the score is the mean
    over classes of each one's share (macro accuracy), without it the share over all. `chance` is what guessing reaches.
    """

    task: str
    caption_type: str
    rank: str
    shots: int
    metric: str
    hits: NDArray[np.float64]
    trials: NDArray[np.float64]
    chance: float
    num_classes: int
    classes: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Score:
    """A value in 0..1 with the ends of its 95 % interval."""

    value: float
    ci_low: float
    ci_high: float


def score(measurements: Sequence[Measurement], num_bootstraps: int, seed: int) -> list[Score]:
    """Score of each measurement; all are of the same N images and are resampled together."""
    num_images = len(measurements[0].hits)
    points = [_statistic(m, np.ones((1, num_images)))[0] for m in measurements]
    resampled: list[list[NDArray[np.float64]]] = [[] for _ in measurements]
    for counts in _resamples(num_images, num_bootstraps, seed):
        for values, measurement in zip(resampled, measurements, strict=True):
            values.append(_statistic(measurement, counts))
    results = []
    for point, chunks in zip(points, resampled, strict=True):
        low, high = np.nanpercentile(np.concatenate(chunks), [_TAIL_PERCENT, 100 - _TAIL_PERCENT])
        results.append(Score(float(point), float(low), float(high)))
    return results


def num_better(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """[N] how many of the C answers in `scores` [N, C] come before the true one; among equal scores the lower class comes first.

    So a model that gives every class the same score is right as often as chance, not always.
    """
    truth = np.take_along_axis(scores, labels[:, None], axis=1)
    lower = np.arange(scores.shape[1]) < labels[:, None]
    num: NDArray[np.int64] = ((scores > truth) | ((scores == truth) & lower)).sum(axis=1)
    return num


def _resamples(num_images: int, num_bootstraps: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each image is drawn, [resamples, N], some resamples at a time."""
    random = np.random.default_rng(seed)
    size = max(1, _CHUNK_NUMBERS // num_images)
    for first in range(0, num_bootstraps, size):
        num_rows = min(size, num_bootstraps - first)
        drawn = random.integers(num_images, size=(num_rows, num_images)) + np.arange(num_rows)[:, None] * num_images
        yield np.bincount(drawn.ravel(), minlength=num_rows * num_images).reshape(num_rows, num_images).astype(np.float64)


def _statistic(measurement: Measurement, counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The score under each row of image counts; NaN where a row holds no trial."""
    if measurement.classes is None:
        return _ratio(counts @ measurement.hits, counts @ measurement.trials)
    order = np.argsort(measurement.classes, kind="stable")
    starts = np.flatnonzero(np.diff(measurement.classes[order], prepend=-1))
    hits = np.add.reduceat((counts * measurement.hits)[:, order], starts, axis=1)
    trials = np.add.reduceat((counts * measurement.trials)[:, order], starts, axis=1)
    present = trials > 0
    shares = np.where(present, hits / np.where(present, trials, 1), 0)
    return _ratio(shares.sum(axis=1), present.sum(axis=1).astype(np.float64))


def _ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.where(denominator > 0, numerator / np.where(denominator > 0, denominator, 1), np.nan)
    return result
