"""CapS-Adapter (Wang et al. 2024, "CapS-Adapter: Caption-based multimodal adapter in zero-shot classification", arXiv:2405.16591).

Tip-Adapter whose affinity to a support image mixes its features s with those of its caption u:
a = (1 - delta) x s + delta x u, and the score of x is 100 x t_c + alpha sum over the images of class c of exp(-beta (1 - a)). delta = 0 is
Tip-Adapter. alpha, beta and delta are chosen by cross-validation within the support (alpha 1, beta 5.5, delta 0.5 with one image a class).

The paper generates images and their captions with other models and adds a term of divergences between class distributions (TIP-X); here
the support are real images with the captions they have, and that term is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

from bioclip.errors import EvaluationError
from bioclip.evaluation.classifiers.classifier import CLIP_SCALE, Classifier, FunctionScorer, Support, one_hot
from bioclip.evaluation.classifiers.selection import accuracy, select
from bioclip.evaluation.classifiers.tip_adapter import ALPHAS, BETAS, cache_logits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DELTAS = (0.0, 0.25, 0.5, 0.75, 1.0)
GRID = tuple(product(DELTAS, BETAS, ALPHAS))
DEFAULT = (0.5, 5.5, 1.0)


def fit(support: Support) -> FunctionScorer:
    """Keeps images and captions at the chosen delta, beta and alpha."""
    delta, beta, alpha = select(support, GRID, _accuracies, DEFAULT)
    keys, texts, classes = _keys(support, delta), support.texts, one_hot(support.labels, support.num_classes)

    def score(queries: Floats) -> Floats:
        return CLIP_SCALE * queries @ texts.T + alpha * cache_logits(queries @ keys.T, classes, beta)

    return FunctionScorer(score, max(len(keys), support.num_classes), {"alpha": alpha, "beta": beta, "delta": delta})


def _keys(support: Support, delta: float) -> Floats:
    """[S, D] whose products with x are the mixed affinities."""
    if support.captions is None:
        raise EvaluationError("the support has no captions; choose tip_adapter, which needs none.")
    return (1 - delta) * support.images + delta * support.captions


def _accuracies(fitted: Support, held: Support) -> Sequence[float]:
    classes, by_text = one_hot(fitted.labels, fitted.num_classes), CLIP_SCALE * held.images @ held.texts.T
    found = []
    for delta in DELTAS:
        affinity = held.images @ _keys(fitted, delta).T
        for beta in BETAS:
            by_cache = cache_logits(affinity, classes, beta)
            found += [accuracy(by_text + alpha * by_cache, held.labels) for alpha in ALPHAS]
    return found


CLASSIFIER = Classifier("CapS-Adapter", fit, needs_texts=True, needs_captions=True)
