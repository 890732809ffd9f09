"""Tip-Adapter-F: Tip-Adapter with trained keys (Zhang et al. 2022, ECCV, arXiv:2207.09519).

The score of x is 100 x t_c + alpha sum over support images of class c of exp(-beta (1 - x k)), where the key k of an image starts as its
features and is trained on the cross-entropy of the support with the rate 1e-3. alpha and beta are those that `tip_adapter` chooses.

The paper trains 20 epochs of random crops with AdamW, and its published code keeps the epoch that is best on the test images; here there
are 100 steps of Adam on all of the support, and the last one counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bioclip.evaluation.classifiers import tip_adapter
from bioclip.evaluation.classifiers.classifier import CLIP_SCALE, Classifier, FunctionScorer, Support, one_hot
from bioclip.evaluation.classifiers.descent import train

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

LEARNING_RATE, NUM_STEPS = 1e-3, 100


def fit(support: Support) -> FunctionScorer:
    """Trains the keys [S, D]."""
    import torch

    chosen = tip_adapter.fit(support).chosen
    alpha, beta = chosen["alpha"], chosen["beta"]
    texts, classes = support.texts, one_hot(support.labels, support.num_classes)
    inputs, values = torch.from_numpy(support.images), torch.from_numpy(classes)
    by_text = torch.from_numpy(CLIP_SCALE * support.images @ texts.T)

    def logits(weights: Sequence[torch.Tensor]) -> torch.Tensor:
        return by_text + alpha * torch.exp(beta * (inputs @ weights[0].T - 1)) @ values

    keys = train([support.images], logits, support.labels, LEARNING_RATE, NUM_STEPS)[0]

    def score(queries: NDArray[np.float64]) -> NDArray[np.float64]:
        return CLIP_SCALE * queries @ texts.T + alpha * tip_adapter.cache_logits(queries @ keys.T, classes, beta)

    return FunctionScorer(score, max(len(keys), support.num_classes), chosen)


CLASSIFIER = Classifier("Tip-Adapter-F", fit, needs_texts=True)
