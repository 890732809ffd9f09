"""The sampling variance of few-shot accuracy over fixed classes: the draw of the queries, that of the support, and their covariance.

An image of the benchmark is asked in some folds and is support in others, so that it acts on the score twice. With n images of a class, k
of them support and q = n - k queries, F folds and the class's contribution s to the score of a fold, the support adds

    Var(s) (1 / F + k / q)

of which the first term is the draw of the folds and the second that of the class's images: supports of different folds share images, so
that more folds do not remove it (as in Nadeau and Bengio 2003, "Inference for the generalization error", for resampled test sets). The
second term uses the variance without the interaction of query and support, which is estimated within classes and folds. An image that is
typical of its class is both answered well and a good support; twice this covariance is added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.statistics.variances import NESTED, Variance, image_variance, jackknife_variance, stratified_variance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioclip.evaluation.statistics.folds import Folds
    from bioclip.evaluation.statistics.shares import Proportion
    from bioclip.evaluation.statistics.units import Units


@dataclass(frozen=True)
class _Supports:
    """Sums over the classes of F folds: `effects` [F, C] of a class's support on its queries, in hits, `typical` [F, C] of the mean hits
    of the support's own images when they are asked, both less their class's mean, and the residual variance of a query in a fold [C]."""

    effects: NDArray[np.float64]
    typical: NDArray[np.float64]
    interaction: NDArray[np.float64]


def nested_variance(share: Proportion, folds: Folds, units: Units) -> Variance:
    """Of a few-shot share over images or observations of fixed classes; two folds or more.

    Degrees of freedom: units less classes, as for a mean over fixed classes.
    """
    num_classes = len(np.unique(folds.classes[share.takes_part]))
    degrees = max(float(units.count(share.takes_part) - num_classes), 1.0)
    return Variance(_query_variance(share, units) + support_variance(share, folds), degrees, NESTED)


def support_variance(share: Proportion, folds: Folds) -> float:
    """What the draw of the support adds to the variance of the draw of the queries; two folds or more."""
    num_folds = len(folds.trials)
    classes, of_class = np.unique(folds.classes[share.takes_part], return_inverse=True)
    trials, hits = folds.trials[:, share.takes_part], folds.hits[:, share.takes_part]
    num_queries = np.bincount(of_class, weights=trials.sum(axis=0)) / num_folds
    num_images = num_queries + folds.shots
    weights = 1 / num_queries.sum() if share.classes is None else 1 / (len(classes) * num_queries)
    found = _supports(hits, trials, of_class)
    by_class = weights**2 * (found.effects**2).sum(axis=0) / (num_folds - 1)
    lasting = np.maximum(by_class - weights**2 * num_queries * found.interaction, 0)
    of_support = by_class / num_folds + lasting * folds.shots / num_queries
    together = (found.typical * found.effects).sum(axis=0) / (num_folds - 1) * num_images**2 / (num_queries * (num_images - 1))
    covariance = 2 * float((weights**2 * num_queries / num_images * together).sum())
    return float(of_support.sum()) + max(covariance, 0.0)


def _query_variance(share: Proportion, units: Units) -> float:
    if share.classes is not None:
        return stratified_variance(share, units.numbers).value
    return image_variance(share).value if units.kind == "image" else jackknife_variance(share, units.numbers).value


def _supports(hits: NDArray[np.float64], trials: NDArray[np.float64], of_class: NDArray[np.int64]) -> _Supports:
    num_folds, num_classes = len(hits), int(of_class.max()) + 1

    def by_class(values: NDArray[np.float64]) -> NDArray[np.float64]:
        """[..., C] sums over the images of each class."""
        return np.stack([np.bincount(of_class, weights=row, minlength=num_classes) for row in np.atleast_2d(values)])

    asked = trials.sum(axis=0)
    means = hits.sum(axis=0) / asked
    class_means = by_class(hits.sum(axis=0))[0] / by_class(asked)[0]
    residuals = (hits - means) * trials
    effects = by_class(residuals)
    num_queries = by_class(asked)[0] / num_folds
    squares = np.maximum(by_class((residuals**2).sum(axis=0))[0] - (effects**2).sum(axis=0) / num_queries, 0)
    degrees = (num_folds - 1) * (num_queries - 1)
    pooled = squares.sum() / max(degrees.sum(), 1.0)
    interaction = np.where(degrees > 0, squares / np.maximum(degrees, 1), pooled)
    typical = by_class((1 - trials) * (means - class_means[of_class]))
    return _Supports(effects - effects.mean(axis=0), typical, interaction)
