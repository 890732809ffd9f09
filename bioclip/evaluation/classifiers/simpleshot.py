"""SimpleShot (Wang et al. 2019, "SimpleShot: Revisiting nearest-neighbor classification for few-shot learning", arXiv:1911.04623).

With m the mean of the support and c(x) = (x - m) / |x - m|, a query x has the score -|c(x) - mean of c(s) over the class's images s|^2.
The paper subtracts the mean of the data that the network was trained on (CL2N); that of the support needs no other data, as in BioCLIP's
evaluation. The square of c(x), equal for all classes, is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.classifiers.classifier import Classifier, LinearScorer, Support, unit_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROWS = 16_384


def fit(support: Support) -> LinearScorer:
    """Centroids of the centred support; memory is that of the centroids beside the support."""
    mean = support.features.mean(axis=0, dtype=np.float64)

    def centre(queries: NDArray[np.float64]) -> NDArray[np.float64]:
        return unit_rows(queries - mean)

    centroids = np.zeros((support.num_classes, support.features.shape[1]))
    order = np.argsort(support.labels, kind="stable")
    for first in range(0, len(order), _ROWS):
        rows = order[first : first + _ROWS]
        classes, starts = np.unique(support.labels[rows], return_index=True)
        centroids[classes] += np.add.reduceat(centre(support.features[rows].astype(np.float64)), starts, axis=0)
    centroids /= np.bincount(support.labels, minlength=support.num_classes)[:, None]
    offsets = -np.einsum("cd,cd->c", centroids, centroids)
    centroids *= 2
    return LinearScorer(centroids, offsets, centre)


CLASSIFIER = Classifier("SimpleShot", fit)
