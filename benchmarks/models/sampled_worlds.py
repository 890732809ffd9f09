"""Worlds with a known accuracy, to sample evaluations from: species effects, and Gaussian classes for few-shot classification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.classifiers import Support, fit_classifier

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEAN_IMAGES, SIZE_SPREAD = 12.0, 0.7
"""Images of a species: one, and a Poisson number with a lognormal mean."""
EASY, HARD = 0.6, 1.4
"""The probability of a hit is drawn for each species from this beta distribution, with mean 0.3."""
TRUE_SHARE = EASY / (EASY + HARD)
CHANGE, CHANGE_SPREAD, SAME_DRAW = 0.5, 0.7, 0.7
"""A second model: the logit of a species' probability changes by a normal number; this share of images is as difficult for both."""
WIDTH = 12
_NUM_TRUTH = 2_000_000


def draw_sizes(random: np.random.Generator, num_species: int) -> NDArray[np.int64]:
    """[species] numbers of images, very unequal."""
    means = random.lognormal(np.log(MEAN_IMAGES) - SIZE_SPREAD**2 / 2, SIZE_SPREAD, num_species)
    return 1 + random.poisson(means)


def draw_species(random: np.random.Generator, num_species: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[species] probabilities of a hit by the first and by the second model."""
    first = np.clip(random.beta(EASY, HARD, num_species), 1e-12, 1 - 1e-12)
    logits = np.log(first) - np.log1p(-first) + CHANGE + CHANGE_SPREAD * random.normal(size=num_species)
    return first, 1 / (1 + np.exp(-logits))


def true_difference(random: np.random.Generator) -> float:
    """The mean difference of the two models over all species."""
    first, second = draw_species(random, _NUM_TRUTH)
    return float((second - first).mean())


def draw_hits(
    random: np.random.Generator, first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Hits [N] of both models on images with these probabilities [N]; most images are as difficult for one as for the other."""
    draw = random.random(len(first))
    other = np.where(random.random(len(first)) < SAME_DRAW, draw, random.random(len(first)))
    return (draw < first).astype(np.float64), (other < second).astype(np.float64)


@dataclass(frozen=True)
class GaussianWorld:
    """Classes whose features are normal around `means` [C, D] with `spreads` [C], scaled to unit length; `shares` [C] of the images."""

    means: NDArray[np.float64]
    spreads: NDArray[np.float64]
    shares: NDArray[np.float64]

    @classmethod
    def draw(cls, random: np.random.Generator, num_classes: int, separation: float) -> GaussianWorld:
        """Other species of the same kind."""
        means = separation * random.normal(size=(num_classes, WIDTH))
        return cls(means, np.exp(0.35 * random.normal(size=num_classes)), random.dirichlet(np.full(num_classes, 1.5)))

    def draw_images(self, random: np.random.Generator, labels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Features [N, D] of other images of these classes."""
        images = self.means[labels] + self.spreads[labels][:, None] * random.normal(size=(len(labels), WIDTH))
        features: NDArray[np.float32] = (images / np.linalg.norm(images, axis=1, keepdims=True)).astype(np.float32)
        return features

    def draw_labels(self, random: np.random.Generator, shots: int, mean_queries: float) -> NDArray[np.int64]:
        """[N] classes: in each `shots` + 1 images and a random number of others."""
        extra = random.multinomial(round(len(self.shares) * (mean_queries - 1)), self.shares)
        return np.repeat(np.arange(len(self.shares)), shots + 1 + extra)

    def accuracies(self, random: np.random.Generator, shots: int, num_draws: int, num_queries: int) -> NDArray[np.float64]:
        """[C] accuracy of SimpleShot in each class over other supports and other queries."""
        num_classes = len(self.means)
        labels = np.repeat(np.arange(num_classes), shots + num_queries)
        places = np.arange(len(labels)).reshape(num_classes, -1)
        support, queries = places[:, :shots].ravel(), places[:, shots:].ravel()
        hits = np.zeros(num_classes)
        for _ in range(num_draws):
            images = self.draw_images(random, labels)
            nearest = fit_classifier("simpleshot", Support(images[support], labels[support], num_classes))(images[queries]).argmax(axis=1)
            hits += (nearest == labels[queries]).reshape(num_classes, -1).mean(axis=1)
        return hits / num_draws
