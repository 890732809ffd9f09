"""The contract of a zero-shot head, and the linear head. N images, C classes, D embedding width, T texts of a class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np

from bioclip.evaluation.heads.vectors import distinct_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioclip.evaluation.heads.class_names import NamedClasses
    from bioclip.evaluation.heads.text_encoder import TextEncoder


class Head(Protocol):
    """Similarities of images to classes; the probability of a class is the softmax of its similarity times `scale`."""

    @property
    def scale(self) -> float:
        """Factor before the softmax."""

    def similarities(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """[N, C] for features `images` [N, D] of unit length; an image's row does not depend on the other images."""


BuildHead = Callable[["NamedClasses", "TextEncoder"], Head]
"""Makes a head from the classes with their names and the encoder of their texts; raises EvaluationError where it lacks an input."""


@dataclass(frozen=True)
class LinearHead:
    """One vector per class: `distinct` [K, D] are the different ones, `of_class` [C] the number of each class's.

    Classes with one vector get exactly the same similarity, since each distinct vector is multiplied once.
    """

    distinct: NDArray[np.float32]
    of_class: NDArray[np.int64]
    scale: float

    @classmethod
    def of(cls, vectors: NDArray[np.float32], scale: float) -> LinearHead:
        """The head with `vectors` [C, D]."""
        return cls(*distinct_rows(vectors), scale)

    @property
    def vectors(self) -> NDArray[np.float32]:
        """[C, D]."""
        return self.distinct[self.of_class]

    def similarities(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See Head."""
        found: NDArray[np.float32] = images @ self.distinct.T
        return found if len(self.distinct) == len(self.of_class) else found[:, self.of_class]


def average_texts(texts: Sequence[Sequence[str]], encoder: TextEncoder) -> NDArray[np.float32]:
    """float32 [C, D]: the mean of the unit vectors of each class's texts, scaled to unit length.

    Radford et al. 2021, "Learning transferable visual models from natural language supervision", section 3.1.4.

    Classes with the same texts get exactly the same vector.
    """
    rows = []
    for first in range(0, len(texts), _CLASSES_A_PART):
        part = texts[first : first + _CLASSES_A_PART]
        encoded = encoder.encode_texts([text for of_class in part for text in of_class])
        starts = np.cumsum([0, *(len(of_class) for of_class in part)])
        means = np.stack([encoded[start:stop].mean(axis=0) for start, stop in pairwise(starts.tolist())])
        rows.append(means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), np.finfo(np.float32).tiny))
    return np.concatenate(rows)


_CLASSES_A_PART = 256
