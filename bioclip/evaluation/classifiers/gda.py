"""Gaussian discriminant analysis with one covariance for all classes (Wang et al. 2024, "A hard-to-beat baseline for training-free
CLIP-based adaptation", ICLR, arXiv:2402.04087).

With the class means mu_c and the pooled covariance S of N support images of width D, the precision matrix is the estimate of Kubokawa and
Srivastava (2008): P = D ((N - 1) S + tr(S) I)^-1. The score of x is w_c x + b_c with w_c = P mu_c and b_c = log(1 / C) - mu_c P mu_c / 2.

The paper's images come in ten random crops, which gives one image a class a covariance. Here an image is encoded once. Without any spread
within classes the variance is taken to be equal in all directions: that of the support around its mean, so that the nearest class mean
wins; features that are all the same get equal scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.classifiers.classifier import Classifier, LinearScorer, Support, class_means

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_NO_SPREAD = 1e-12


def fit(support: Support) -> LinearScorer:
    """Weights and offsets in closed form."""
    return LinearScorer(*estimate(support.images, support.labels, support.num_classes))


def estimate(images: Floats, labels: NDArray[np.int64], num_classes: int) -> tuple[Floats, Floats]:
    """(weights [C, D], offsets [C]) of `images` [N, D] with `labels` [N]."""
    means = class_means(images, labels, num_classes)
    centred, width = images - means[labels], images.shape[1]
    scatter = centred.T @ centred
    if np.trace(scatter) > _NO_SPREAD * len(images):
        shrunk = scatter + np.trace(scatter) / (len(images) - 1) * np.eye(width)
        weights = width * np.linalg.solve(shrunk, means.T).T
    else:
        spread = float(((images - images.mean(axis=0)) ** 2).sum(axis=1).mean())
        weights = means * (width / spread if spread > _NO_SPREAD else 0.0)
    offsets: Floats = -np.log(num_classes) - np.einsum("cd,cd->c", weights, means) / 2
    return weights, offsets


CLASSIFIER = Classifier("GDA", fit)
