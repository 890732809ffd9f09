"""TaskRes (Yu et al. 2023, "Task residual for tuning vision-language models", CVPR, arXiv:2211.10277).

The score of x is s x (t_c + a r_c) / |t_c + a r_c| with the model's logit scale s, the residual scale a = 0.5 and residuals r_c that start
at 0 and are trained on the cross-entropy of the support. The paper trains with Adam at 2e-3 for 100 to 200 epochs of random crops in
batches of 256 after a warm-up epoch; here there are 200 steps on all of the support, without crops and warm-up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.classifiers.classifier import Classifier, LinearScorer, Support, unit_rows
from bioclip.evaluation.classifiers.descent import train

if TYPE_CHECKING:
    import torch

LEARNING_RATE, NUM_STEPS = 2e-3, 200
RESIDUAL_SCALE = 0.5


def fit(support: Support) -> LinearScorer:
    """Trains the residuals [C, D]."""
    import torch

    texts, scale = support.texts, support.logit_scale
    inputs, base = torch.from_numpy(support.images), torch.from_numpy(texts)

    def logits(weights: Sequence[torch.Tensor]) -> torch.Tensor:
        return scale * inputs @ torch.nn.functional.normalize(base + RESIDUAL_SCALE * weights[0], dim=1).T

    residuals = train([np.zeros_like(texts)], logits, support.labels, LEARNING_RATE, NUM_STEPS)[0]
    return LinearScorer(scale * unit_rows(texts + RESIDUAL_SCALE * residuals), np.zeros(support.num_classes))


CLASSIFIER = Classifier("TaskRes", fit, needs_texts=True)
