"""Linear probe: multinomial logistic regression with an L2 penalty on features of a frozen encoder (Radford et al. 2021, "Learning
transferable visual models from natural language supervision", arXiv:2103.00020, appendix A.3).

It minimises |W|^2 / 2 + C sum_i -log softmax(W x_i + b)[y_i] by L-BFGS, with b not penalised: scikit-learn's LogisticRegression. C is that
of `PENALTIES` with the best cross-validated accuracy within the support, the strongest penalty of several. CLIP searches C on a validation
set that is larger than a few-shot support. With one image a class C is 100: scikit-learn's C = 1 is meant for features of unit variance,
and those of unit length have a variance of at most 1 / D in each dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.classifiers.classifier import Classifier, LinearScorer, Support, one_hot, softmax
from bioclip.evaluation.classifiers.selection import accuracy, select

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""Values of C, the strongest penalty first."""
_DEFAULT = 100.0
_TOLERANCE, _MAX_STEPS = 1e-7, 2000
_SEARCH_TOLERANCE, _SEARCH_STEPS = 1e-4, 200
"""While C is sought, an accuracy needs no exact minimum."""


def fit(support: Support) -> LinearScorer:
    """Weights at the chosen C."""
    chosen = select(support, PENALTIES, _accuracies, _DEFAULT)
    weights, offsets = solve(support.images, support.labels, support.num_classes, chosen)
    return LinearScorer(weights, offsets, chosen={"C": chosen})


def solve(
    images: Floats,
    labels: NDArray[np.int64],
    num_classes: int,
    penalty: float,
    start: Floats | None = None,
    tolerance: float = _TOLERANCE,
    max_steps: int = _MAX_STEPS,
) -> tuple[Floats, Floats]:
    """(weights [C, D], offsets [C]) at C = `penalty`; `start` [C, D + 1] are initial weights with the offsets in the last column.

    With fewer images than dimensions the weights are sought in the space of the images, where the minimum is.
    """
    from scipy.optimize import minimize

    basis = np.linalg.qr(images.T)[0] if len(images) < images.shape[1] else np.eye(images.shape[1])
    inputs = np.column_stack([images @ basis, np.ones(len(images))])
    targets, shape = one_hot(labels, num_classes), (num_classes, inputs.shape[1])
    is_weight = np.append(np.ones(shape[1] - 1), 0.0)

    def loss(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(shape)
        logits = inputs @ weights.T
        top = logits.max(axis=1)
        entropy = np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top - (logits * targets).sum(axis=1)
        gradient = (softmax(logits) - targets).T @ inputs / len(inputs) + weights * is_weight / (penalty * len(inputs))
        return float(entropy.mean() + (weights**2 * is_weight).sum() / (2 * penalty * len(inputs))), gradient.ravel()

    first = np.zeros(shape) if start is None else np.column_stack([start[:, :-1] @ basis, start[:, -1]])
    options = {"maxiter": max_steps, "maxfun": 2 * max_steps, "gtol": tolerance, "ftol": 0.0, "maxcor": 20}
    found = minimize(loss, first.ravel(), jac=True, method="L-BFGS-B", options=options).x.reshape(shape)
    return found[:, :-1] @ basis.T, found[:, -1]


def _accuracies(fitted: Support, held: Support) -> Sequence[float]:
    """At each C, each solution from that of the C before."""
    start, found = None, []
    for penalty in PENALTIES:
        weights, offsets = solve(fitted.images, fitted.labels, fitted.num_classes, penalty, start, _SEARCH_TOLERANCE, _SEARCH_STEPS)
        start = np.column_stack([weights, offsets])
        found.append(accuracy(held.images @ weights.T + offsets, held.labels))
    return found


CLASSIFIER = Classifier("linear probe", fit)
