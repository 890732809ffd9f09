"""A task and metrics as a third party writes them, loaded by `module:function`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bioclip.evaluation.predictions import Predictions
from bioclip.evaluation.statistics import Measurement, Proportion
from bioclip.evaluation.tasks.task import TaskInput, TaskResult


@dataclass(frozen=True)
class Auroc:
    """Area under the ROC curve of `scores` [N] for `positive` [N], as the probability that a positive has the higher score."""

    scores: np.ndarray
    positive: np.ndarray

    @property
    def takes_part(self) -> np.ndarray:
        return np.ones(len(self.scores), dtype=bool)

    @property
    def is_share(self) -> bool:
        return False

    def __call__(self, counts: np.ndarray, units: np.ndarray | None = None) -> np.ndarray:
        wins = (self.scores[:, None] > self.scores[None, :]) + 0.5 * (self.scores[:, None] == self.scores[None, :])
        positive, negative = counts * self.positive, counts * ~self.positive
        pairs = positive.sum(1) * negative.sum(1)
        return np.where(pairs > 0, ((positive @ wins) * negative).sum(1) / np.where(pairs > 0, pairs, 1), np.nan)


@dataclass(frozen=True)
class CalibrationError:
    """Expected calibration error in equal bins of confidence."""

    confidence: np.ndarray
    hits: np.ndarray
    num_bins: int

    @property
    def takes_part(self) -> np.ndarray:
        return np.ones(len(self.hits), dtype=bool)

    @property
    def is_share(self) -> bool:
        return False

    def __call__(self, counts: np.ndarray, units: np.ndarray | None = None) -> np.ndarray:
        bins = np.minimum((self.confidence * self.num_bins).astype(int), self.num_bins - 1)
        one_hot = np.eye(self.num_bins)[bins]
        gaps = (counts * (self.hits - self.confidence)) @ one_hot
        return np.abs(gaps).sum(1) / counts.sum(1)


def mean_average_precision(given: TaskInput) -> TaskResult:
    """Image to image retrieval within the benchmark; one number, without classes, chance by the share of relevant images."""
    similarity = given.images @ given.images.T
    np.fill_diagonal(similarity, -np.inf)
    precision, asked = np.zeros(len(given.labels)), np.zeros(len(given.labels))
    for query, order in enumerate(np.argsort(-similarity, axis=1, kind="stable")[:, :-1]):
        relevant = given.labels[order] == given.labels[query]
        if relevant.any():
            ranks = np.flatnonzero(relevant) + 1
            precision[query], asked[query] = np.mean(np.arange(1, len(ranks) + 1) / ranks), 1
    measurement = Measurement("retrieval", {"direction": "image-to-image"}, "map", Proportion(precision * asked, asked))
    confidence = np.sort(similarity, axis=1)[:, -1].astype(np.float64)
    separation = Measurement("retrieval", {"score": "nearest"}, "auroc", Auroc(confidence, given.labels == given.labels[0]), chance=0.5)
    return TaskResult([measurement, separation], notes={"num_queries": int(asked.sum())})


def calibration(predictions: Predictions) -> Measurement | None:
    """ECE of the most probable class, in ten bins."""
    if predictions.top_probabilities is None or not predictions.asked.all():
        return None
    statistic = CalibrationError(predictions.top_probabilities[:, 0], (predictions.position == 0).astype(float), 10)
    return Measurement(predictions.task, predictions.parameters | {"bins": 10}, "ece", statistic)


def hierarchical_distance(predictions: Predictions) -> Measurement | None:
    """0 for the true species, 1 for another: in steps, not a share."""
    if predictions.parameters["rank"] != "species":
        return None
    steps = np.where(predictions.position == 0, 0.0, 2.0)
    return Measurement(predictions.task, predictions.parameters, "hierarchical_distance", Proportion(steps, np.ones(len(steps))))
