"""Gaussian discriminant analysis and the text head together (Wang et al. 2024, "A hard-to-beat baseline for training-free CLIP-based
adaptation", ICLR, arXiv:2402.04087).

The score of x is 100 x t_c + alpha (w_c x + b_c) with the text feature t_c and the weights of `gda`. The paper chooses alpha out of 1e-4 to
100 on a validation set (for ImageNet on the test set); here it is chosen by cross-validation within the support, and 0.1, where the paper's
search starts, with one image a class.
"""

from __future__ import annotations

from collections.abc import Sequence

from bioclip.evaluation.classifiers.classifier import CLIP_SCALE, Classifier, LinearScorer, Support
from bioclip.evaluation.classifiers.gda import estimate
from bioclip.evaluation.classifiers.selection import accuracy, select

ALPHAS = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)
_DEFAULT = 0.1


def fit(support: Support) -> LinearScorer:
    """Weights and offsets at the chosen alpha."""
    alpha = select(support, ALPHAS, _accuracies, _DEFAULT)
    weights, offsets = estimate(support.images, support.labels, support.num_classes)
    return LinearScorer(CLIP_SCALE * support.texts + alpha * weights, alpha * offsets, chosen={"alpha": alpha})


def _accuracies(fitted: Support, held: Support) -> Sequence[float]:
    weights, offsets = estimate(fitted.images, fitted.labels, fitted.num_classes)
    by_text, by_image = CLIP_SCALE * held.images @ held.texts.T, held.images @ weights.T + offsets
    return [accuracy(by_text + alpha * by_image, held.labels) for alpha in ALPHAS]


CLASSIFIER = Classifier("GDA + zero-shot", fit, needs_texts=True)
