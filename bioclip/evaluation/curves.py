"""Statistics of scores in order: areas under curves and calibration errors of N images. Counts [R, N] are those of resamples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.hashed_choice import hash_number
from bioclip.evaluation.statistics import Statistic, ratio

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_TRUE_POSITIVE_RATE = 0.95


@dataclass(frozen=True)
class _Ordered:
    """Images in the order of their scores, highest first; images with one score form a group, `ends` [G] is the last of each."""

    order: NDArray[np.int64]
    ends: NDArray[np.int64]

    def totals(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """[R, G] sums of `values` [R, N] over all images up to and including each group."""
        found: NDArray[np.float64] = np.cumsum(values[:, self.order], axis=1)[:, self.ends]
        return found


def _in_order(scores: NDArray[np.float64]) -> _Ordered:
    order = np.argsort(-scores, kind="stable")
    changes = np.flatnonzero(np.diff(scores[order])) if len(scores) else np.empty(0, np.int64)
    return _Ordered(order, np.append(changes, len(scores) - 1))


@dataclass(frozen=True)
class _OfScores(Statistic):
    """`scores` [N]; images where `asked` [N] is False are left out."""

    scores: NDArray[np.float64]
    asked: NDArray[np.bool_]
    ordered: _Ordered = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ordered", _in_order(self.scores))

    @property
    def takes_part(self) -> NDArray[np.bool_]:
        """See Statistic."""
        return self.asked


@dataclass(frozen=True)
class Auroc(_OfScores):
    """Area under the ROC curve: the probability that an image of `positive` [N] has a higher score than another, ties counting one half."""

    positive: NDArray[np.bool_]

    def __call__(self, counts: NDArray[np.float64], units: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """See Statistic."""
        positive, negative = _cumulated(self.ordered, counts * self.asked, self.positive)
        gained = np.diff(negative, axis=1, prepend=0)
        wins = (gained * (positive - np.diff(positive, axis=1, prepend=0) / 2)).sum(axis=1)
        return ratio(wins, positive[:, -1] * negative[:, -1])


@dataclass(frozen=True)
class FalsePositiveRate(_OfScores):
    """Share of the other images with a score at least as high as the threshold that 95 % of `positive` [N] reach (FPR95)."""

    positive: NDArray[np.bool_]

    def __call__(self, counts: NDArray[np.float64], units: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """See Statistic."""
        positive, negative = _cumulated(self.ordered, counts * self.asked, self.positive)
        least = LEAST_TRUE_POSITIVE_RATE * positive[:, -1:] * (1 - 1e-12)
        first = (positive < least).sum(axis=1)
        found = np.take_along_axis(negative, first[:, None], axis=1)[:, 0]
        return ratio(np.where(positive[:, -1] > 0, found, np.nan), negative[:, -1])


@dataclass(frozen=True)
class RiskCoverageArea(_OfScores):
    """Mean error of the images answered so far when they are answered in the order of their confidence `scores`, over all coverages
    (AURC: Geifman and El-Yaniv 2017, "Selective classification for deep neural networks"); `hits` [N] are between 0 and 1."""

    hits: NDArray[np.float64]

    def __call__(self, counts: NDArray[np.float64], units: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """See Statistic."""
        counted = counts * self.asked
        answered = self.ordered.totals(counted)
        wrong = self.ordered.totals(counted * (1 - self.hits))
        risks = wrong / np.maximum(answered, 1)
        return ratio((np.diff(answered, axis=1, prepend=0) * risks).sum(axis=1), answered[:, -1])


@dataclass(frozen=True)
class AccuracyAtCoverage(_OfScores):
    """Accuracy of the most confident images, as many as make up `coverage` of all; a group of equal confidence counts in proportion."""

    hits: NDArray[np.float64]
    coverage: float

    def __call__(self, counts: NDArray[np.float64], units: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """See Statistic."""
        counted = counts * self.asked
        answered, right = (np.diff(self.ordered.totals(one), axis=1, prepend=0) for one in (counted, counted * self.hits))
        wanted = self.coverage * answered.sum(axis=1, keepdims=True)
        before = np.cumsum(answered, axis=1) - answered
        taken = np.clip(wanted - before, 0, answered)
        return ratio((taken * right / np.maximum(answered, 1e-12)).sum(axis=1), wanted[:, 0])


@dataclass(frozen=True)
class CalibrationError(Statistic):
    """Expected calibration error: the mean gap between `confidence` [N] and `hits` [N] over bins with as many images each, weighted by
    their images (Guo et al. 2017, "On calibration of modern neural networks"; bins of equal size as in Nixon et al. 2019)."""

    confidence: NDArray[np.float64]
    hits: NDArray[np.float64]
    num_bins: int

    @property
    def takes_part(self) -> NDArray[np.bool_]:
        """See Statistic."""
        return np.ones(len(self.hits), dtype=bool)

    @property
    def bins(self) -> NDArray[np.int64]:
        """[N] the bin of each image, by the order of confidences; equal confidences share one."""
        values, of_image, sizes = np.unique(self.confidence, return_inverse=True, return_counts=True)
        middles = np.cumsum(sizes) - (sizes + 1) / 2
        found: NDArray[np.int64] = np.minimum((middles * self.num_bins / len(self.confidence)).astype(np.int64), self.num_bins - 1)
        return found[of_image] if len(values) else found

    def __call__(self, counts: NDArray[np.float64], units: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """See Statistic."""
        gaps = (counts * (self.hits - self.confidence)) @ np.eye(self.num_bins)[self.bins]
        return ratio(np.abs(gaps).sum(axis=1), counts.sum(axis=1))


@dataclass(frozen=True)
class AgainstOthers(Statistic):
    """`statistic` of N images of a benchmark and M others, as one of the N: each resample of the N comes with a resample of the M, which
    is drawn by the counts of the N. All statistics of the same images thus have the same draws."""

    statistic: Statistic
    num_others: int

    @property
    def takes_part(self) -> NDArray[np.bool_]:
        """See Statistic."""
        return self.statistic.takes_part[: -self.num_others]

    def __call__(self, counts: NDArray[np.float64], units: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """See Statistic."""
        others = np.stack([self._draw(row) for row in counts])
        return self.statistic(np.concatenate([counts, others], axis=1), None)

    def _draw(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        if (counts == 1).all():
            return np.ones(self.num_others)
        random = np.random.default_rng(hash_number(counts.tobytes().hex()))
        return np.bincount(random.integers(self.num_others, size=self.num_others), minlength=self.num_others).astype(np.float64)


def _cumulated(
    ordered: _Ordered, counts: NDArray[np.float64], positive: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return ordered.totals(counts * positive), ordered.totals(counts * ~positive)
