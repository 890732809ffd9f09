"""Input and result of a few-shot classifier. S support images, Q queries, C classes, D embedding width."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from bioclip.errors import EvaluationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Features = NDArray[np.floating]

CLIP_SCALE = 100.0
"""CLIP's logit scale, on which the papers' factors between the text head and the support are stated."""


@dataclass(frozen=True)
class Support:
    """Labelled images: `features` [S, D] of unit length and `labels` [S], each of the classes 0 to `num_classes` - 1 at least once.

    The order of the images does not depend on the data set. For a model with texts, `heads` [C, D] are the features of a caption per class
    and `captions` [S, D] those of each image's own caption, both of unit length, and `logit_scale` is the model's factor on cosines.
    """

    features: Features
    labels: NDArray[np.int64]
    num_classes: int
    heads: Features | None = None
    captions: Features | None = None
    logit_scale: float = CLIP_SCALE
    seed: int = 0
    """Seed of random initial weights."""

    @property
    def images(self) -> Floats:
        """`features` in double precision."""
        return self.features.astype(np.float64)

    @property
    def texts(self) -> Floats:
        """`heads` in double precision; raises EvaluationError for a model without texts."""
        if self.heads is None:
            raise EvaluationError("the support has no text features; choose a few-shot method that needs none.")
        return self.heads.astype(np.float64)

    def take(self, chosen: NDArray[np.int64]) -> Support:
        """The images at the positions `chosen`."""
        captions = None if self.captions is None else self.captions[chosen]
        return replace(self, features=self.features[chosen], labels=self.labels[chosen], captions=captions)


class Scorer(Protocol):
    """A classifier that was fitted to a support."""

    @property
    def width(self) -> int:
        """How many numbers the scores of one query need at a time."""

    @property
    def chosen(self) -> Mapping[str, float]:
        """The hyperparameters that the support decided, by name."""

    def __call__(self, queries: Features) -> Floats:
        """[Q, C] scores of the `queries` [Q, D], higher for a likelier class."""


@dataclass(frozen=True)
class LinearScorer:
    """Scores that are linear in the query: `prepare(queries)` @ `weights` [C, D].T + `offsets` [C]."""

    weights: Floats
    offsets: Floats
    prepare: Callable[[Floats], Floats] | None = None
    chosen: Mapping[str, float] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """See Scorer."""
        return len(self.weights)

    def inputs(self, queries: Features) -> Floats:
        """[Q, D] what the weights are multiplied with."""
        wide = queries.astype(np.float64)
        return wide if self.prepare is None else self.prepare(wide)

    def __call__(self, queries: Features) -> Floats:
        """See Scorer."""
        scores: Floats = self.inputs(queries) @ self.weights.T + self.offsets
        return scores


@dataclass(frozen=True)
class FunctionScorer:
    """Scores by any function of the queries in double precision."""

    function: Callable[[Floats], Floats]
    width: int
    chosen: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, queries: Features) -> Floats:
        """See Scorer."""
        return self.function(queries.astype(np.float64))


@dataclass(frozen=True)
class Classifier:
    """A few-shot method: its name in tables, how it is fitted, whether it needs the model's text features of the classes, and whether it
    needs those of the images' own captions too."""

    title: str
    fit: Callable[[Support], Scorer]
    needs_texts: bool = False
    needs_captions: bool = False


def check_support(support: Support) -> None:
    """Raises EvaluationError for features that are not finite, labels that are no classes, or a class without an image."""
    counts = np.bincount(support.labels, minlength=support.num_classes) if len(support.labels) else np.zeros(support.num_classes)
    if len(counts) > support.num_classes or (counts == 0).any():
        empty = int((counts[: support.num_classes] == 0).sum())
        raise EvaluationError(
            f"the support has {empty} of {support.num_classes} classes without an image and labels up to {len(counts) - 1}; "
            "number the classes from 0 and give each at least one image."
        )
    for name, values in (("images", support.features), ("texts", support.heads), ("captions", support.captions)):
        if values is not None and not np.isfinite(values).all():
            rows = np.flatnonzero(~np.isfinite(values).all(axis=1))
            raise EvaluationError(
                f"features of {len(rows)} {name} of the support are not finite (first: row {rows[0]}); "
                "encode them again with evaluation.precision = fp32, or leave them out."
            )


def unit_rows(values: Floats) -> Floats:
    """The rows scaled to unit length; a row of zeros stays zero."""
    scaled: Floats = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return scaled


def class_means(values: Floats, labels: NDArray[np.int64], num_classes: int) -> Floats:
    """[C, D] mean of the rows of each class; every class has one."""
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(num_classes))
    sums: Floats = np.add.reduceat(values[order], starts, axis=0)
    return sums / np.bincount(labels, minlength=num_classes)[:, None]


def one_hot(labels: NDArray[np.int64], num_classes: int) -> Floats:
    """[S, C] 1 where the image has the class."""
    found = np.zeros((len(labels), num_classes))
    found[np.arange(len(labels)), labels] = 1.0
    return found


def softmax(logits: Floats) -> Floats:
    """Probabilities [Q, C] of the rows of `logits`."""
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: Floats = weights / weights.sum(axis=1, keepdims=True)
    return found
