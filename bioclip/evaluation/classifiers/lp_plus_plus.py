"""LP++ (Huang et al. 2024, "LP++: A surprisingly strong linear probe for few-shot CLIP", CVPR, arXiv:2404.02285).

The score of x is x (w_c + alpha_c t_c) with learnt w_c and alpha_c. Both minimise the mean cross-entropy of the support by block-wise
majorise-minimise steps, whose sizes follow from the data. They start from w_c = the sum of the class's images, and alpha_c = 250 times the
mean over classes of the mean cosine of a class's images with its text.

The step sizes here are those of the bound 1/2 on the softmax's Hessian for a whole block, 2 N / lambda_max(F' F) for w and
2 N / sum_i (f_i t_c)^2 for alpha_c, at which the loss cannot rise; the published code takes larger ones for w with momentum, and smaller
ones for alpha every tenth step. The number of steps is that of `NUM_STEPS` with the best cross-validated accuracy within the support, where
the paper takes the best of 300 on a validation set, and 300 with one image a class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.classifiers.classifier import Classifier, LinearScorer, Support, one_hot, softmax
from bioclip.evaluation.classifiers.selection import accuracy, select

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NUM_STEPS = (10, 30, 100, 300)
_START = 250.0
_TINY = np.finfo(np.float64).tiny


def fit(support: Support) -> LinearScorer:
    """Weights after the chosen number of steps."""
    num_steps = select(support, NUM_STEPS, _accuracies, NUM_STEPS[-1])
    weights = list(descend(support, (num_steps,)))[-1]
    return LinearScorer(weights, np.zeros(len(weights)), chosen={"num_steps": num_steps})


def descend(support: Support, marks: Sequence[int]) -> Iterator[Floats]:
    """The weights w + alpha t [C, D] after each number of steps in `marks`, in ascending order."""
    images, texts, targets = support.images, support.texts, one_hot(support.labels, support.num_classes)
    by_text = images @ texts.T
    step = 2 * len(images) / max(float(np.linalg.norm(images, 2) ** 2), _TINY)
    text_steps = 2 * len(images) / np.maximum((by_text**2).sum(axis=0), _TINY)
    weights = targets.T @ images
    own = (targets * by_text).sum(axis=0) / targets.sum(axis=0)
    alphas = np.full(len(texts), _START * own.mean())
    for number in range(1, marks[-1] + 1):
        residual = (softmax(images @ weights.T + by_text * alphas) - targets) / len(images)
        weights -= step * residual.T @ images
        residual = (softmax(images @ weights.T + by_text * alphas) - targets) / len(images)
        alphas = alphas - text_steps * (residual * by_text).sum(axis=0)
        if number in marks:
            yield weights + alphas[:, None] * texts


def _accuracies(fitted: Support, held: Support) -> Sequence[float]:
    return [accuracy(held.images @ weights.T, held.labels) for weights in descend(fitted, NUM_STEPS)]


CLASSIFIER = Classifier("LP++", fit, needs_texts=True)
