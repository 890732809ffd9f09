"""Tip-Adapter without training (Zhang et al. 2022, "Tip-Adapter: Training-free adaption of CLIP for few-shot classification", ECCV,
arXiv:2207.09519).

The score of x is 100 x t_c + alpha sum over support images s of class c of exp(-beta (1 - x s)). The paper searches alpha and beta on a
validation set; here they are those of `GRID` with the best cross-validated accuracy within the support, and its values for ImageNet
(alpha 1, beta 5.5) with one image a class. The paper's keys are means over ten random crops of an image; here an image is encoded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.classifiers.classifier import CLIP_SCALE, Classifier, FunctionScorer, Support, one_hot
from bioclip.evaluation.classifiers.selection import accuracy, select

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ALPHAS, BETAS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0), (1.0, 2.5, 5.5, 10.0, 20.0, 50.0)
GRID = tuple(product(BETAS, ALPHAS))
DEFAULT = (5.5, 1.0)


def fit(support: Support) -> FunctionScorer:
    """Keeps the support at the chosen beta and alpha."""
    beta, alpha = select(support, GRID, _accuracies, DEFAULT)
    images, texts, classes = support.images, support.texts, one_hot(support.labels, support.num_classes)

    def score(queries: Floats) -> Floats:
        return CLIP_SCALE * queries @ texts.T + alpha * cache_logits(queries @ images.T, classes, beta)

    return FunctionScorer(score, max(len(images), support.num_classes), {"alpha": alpha, "beta": beta})


def cache_logits(affinity: Floats, classes: Floats, beta: float) -> Floats:
    """exp(-`beta` (1 - `affinity` [Q, S])) summed over the images of each class, [Q, C]; `classes` [S, C] are one-hot labels."""
    found: Floats = np.exp(beta * (affinity - 1)) @ classes
    return found


def _accuracies(fitted: Support, held: Support) -> Sequence[float]:
    affinity, classes = held.images @ fitted.images.T, one_hot(fitted.labels, fitted.num_classes)
    by_text = CLIP_SCALE * held.images @ held.texts.T
    by_beta = {beta: cache_logits(affinity, classes, beta) for beta in BETAS}
    return [accuracy(by_text + alpha * by_beta[beta], held.labels) for beta, alpha in GRID]


CLASSIFIER = Classifier("Tip-Adapter", fit, needs_texts=True)
