"""Follow-up differential descriptions (Esfandiarpoor and Bach 2024, FuDD, "Follow-up differential descriptions: Language models resolve
ambiguities for image classification", arXiv:2311.07593).

The first head finds the `NUM_AMBIGUOUS` best classes of an image. For each pair of them, the attributes whose descriptions differ give
texts of both; the vector of a class is the mean of its texts over all its pairs, and these classes are ordered again by it. The paper
asks a language model for the differences of each pair; here they come from the attributes of `evaluation.descriptions`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.heads.descriptions import describe, require_descriptions
from bioclip.evaluation.heads.head import LinearHead, average_texts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioclip.evaluation.heads.class_names import NamedClasses
    from bioclip.evaluation.heads.text_encoder import TextEncoder

NUM_AMBIGUOUS = 10


@dataclass(frozen=True)
class DifferentialHead:
    """`first` finds the ambiguous classes.

    Their similarities are then those to the differential texts, shifted together so that the least is the least that `first` gave them.
    """

    first: LinearHead
    named: NamedClasses
    encoder: TextEncoder
    num_ambiguous: int = NUM_AMBIGUOUS
    encoded: dict[tuple[int, str], NDArray[np.float32]] = field(default_factory=dict, repr=False)
    """(class, attribute) -> features of its text [D]."""

    @property
    def scale(self) -> float:
        """See Head."""
        return self.first.scale

    def similarities(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See Head."""
        found = np.array(self.first.similarities(images))
        for row, image in zip(found, images, strict=True):
            best = np.argsort(-row, kind="stable")[: self.num_ambiguous]
            again = self.vectors(best) @ image
            row[best] = again - again.min() + row[best[-1]]
        return found

    def vectors(self, classes: NDArray[np.int64]) -> NDArray[np.float32]:
        """[K, D] of unit length: the mean of each class's texts that differ from those of another of `classes` [K].

        A class without any has the first head's vector.
        """
        described = self.named.described
        rows = []
        for one in classes.tolist():
            chosen = [
                attribute
                for other in classes.tolist()
                if other != one
                for attribute, text in described[one].items()
                if described[other].get(attribute) not in {None, text}
            ]
            if chosen:
                mean = np.mean([self._encode(one, attribute) for attribute in chosen], axis=0)
                rows.append(mean / np.linalg.norm(mean))
            else:
                rows.append(self.first.distinct[self.first.of_class[one]])
        return np.stack(rows)

    def _encode(self, one: int, attribute: str) -> NDArray[np.float32]:
        if (one, attribute) not in self.encoded:
            attributes = self.named.described[one]
            texts = [describe(self.named.names[one], text) for text in attributes.values()]
            self.encoded.update(zip(((one, name) for name in attributes), self.encoder.encode_texts(texts), strict=True))
        return self.encoded[one, attribute]


def build(named: NamedClasses, encoder: TextEncoder) -> DifferentialHead:
    """The first head has the texts without descriptions; raises EvaluationError if no class has a description."""
    require_descriptions(named)
    plain = average_texts([[describe(name, "")] for name in named.names], encoder)
    return DifferentialHead(LinearHead.of(plain, encoder.logit_scale), named, encoder)
