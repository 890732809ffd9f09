"""Weighted k nearest neighbours by cosine (Wu et al. 2018, "Unsupervised feature learning via non-parametric instance discrimination",
arXiv:1805.01978), with the k = 20 and the temperature 0.07 of DINO's evaluation (Caron et al. 2021, arXiv:2104.14294).

The score of class c is the sum of exp(cos(x, s) / 0.07) over those of the k nearest support images s that are of class c. Images as near
as the k-th one count too, so that the order of the support has no effect; DINO's evaluation takes the first k of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.classifiers.classifier import Classifier, FunctionScorer, Support, one_hot
from bioclip.evaluation.statistics import TIE_MARGIN

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUM_NEIGHBOURS = 20
TEMPERATURE = 0.07


def fit(support: Support) -> FunctionScorer:
    """Keeps the support; there is nothing to learn."""
    images, classes = support.images, one_hot(support.labels, support.num_classes)
    num_neighbours = min(NUM_NEIGHBOURS, len(images))

    def score(queries: NDArray[np.float64]) -> NDArray[np.float64]:
        similarity = queries @ images.T
        kth = np.partition(similarity, -num_neighbours, axis=1)[:, [-num_neighbours]]
        votes = np.where(similarity >= kth - TIE_MARGIN, np.exp(similarity / TEMPERATURE), 0.0)
        scores: NDArray[np.float64] = votes @ classes
        return scores

    return FunctionScorer(score, max(len(images), support.num_classes))


CLASSIFIER = Classifier("k-NN", fit)
