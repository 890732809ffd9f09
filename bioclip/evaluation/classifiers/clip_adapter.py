"""CLIP-Adapter (Gao et al. 2024, "CLIP-Adapter: Better vision-language models with feature adapters", IJCV, arXiv:2110.04544).

A(x) = relu(V relu(U x)) is a bottleneck of D / 4 units without offsets, y = 0.2 A(x) + 0.8 x, and the score of x is s y t_c / |y| with the
model's logit scale s. U and V start at random, from the seed of the support, in torch's way for linear layers, and are trained on the
cross-entropy of the support.

The ratio 0.2 is that of the published code; the paper searches it on a validation set. It adapts features before they are scaled to unit
length and trains on random crops; here they have unit length, and there are 100 steps of Adam at 1e-3 on all of the support.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.classifiers.classifier import Classifier, LinearScorer, Support, unit_rows
from bioclip.evaluation.classifiers.descent import train

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

LEARNING_RATE, NUM_STEPS = 1e-3, 100
RATIO, REDUCTION = 0.2, 4


def fit(support: Support) -> LinearScorer:
    """Trains the adapter."""
    import torch

    scale, width = support.logit_scale, support.features.shape[1]
    inputs, texts = torch.from_numpy(support.images), torch.from_numpy(support.texts)

    def logits(weights: Sequence[torch.Tensor]) -> torch.Tensor:
        adapted = torch.relu(torch.relu(inputs @ weights[0].T) @ weights[1].T)
        mixed = RATIO * adapted + (1 - RATIO) * inputs
        return scale * torch.nn.functional.normalize(mixed, dim=1) @ texts.T

    down, up = train(initial_weights(width, support.seed), logits, support.labels, LEARNING_RATE, NUM_STEPS)

    def adapt(queries: NDArray[np.float64]) -> NDArray[np.float64]:
        adapted = np.maximum(np.maximum(queries @ down.T, 0) @ up.T, 0)
        return unit_rows(RATIO * adapted + (1 - RATIO) * queries)

    return LinearScorer(scale * support.texts, np.zeros(support.num_classes), adapt)


def initial_weights(width: int, seed: int) -> list[NDArray[np.float64]]:
    """U [D / 4, D] and V [D, D / 4], uniform within 1 / sqrt of their number of inputs."""
    random, narrow = np.random.default_rng(seed), max(1, width // REDUCTION)
    return [random.uniform(-1, 1, size=shape) / np.sqrt(shape[1]) for shape in ((narrow, width), (width, narrow))]


CLASSIFIER = Classifier("CLIP-Adapter", fit, needs_texts=True)
