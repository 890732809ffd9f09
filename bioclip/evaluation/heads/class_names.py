"""The classes of a head with the names that its texts contain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bioclip.evaluation.benchmark import SpeciesClass

_PREFIX, _SUFFIX = "a photo of ", "."


@dataclass(frozen=True)
class NamedClasses:
    """`names` [C] are what a text calls each of `classes` [C]; `templates` come with the set of images, each with `{}` for the name.

    `descriptions` maps a scientific name to its texts by attribute; `seed` decides random texts.
    """

    classes: Sequence[SpeciesClass]
    names: Sequence[str]
    templates: Sequence[str] = ()
    descriptions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    seed: int = 0

    @property
    def described(self) -> list[Mapping[str, str]]:
        """[C] the descriptions of each class by attribute; empty for a class without any."""
        return [self.descriptions.get(one.lineage[-1], {}) for one in self.classes]


def name_in(caption: str) -> str:
    """The name in one of a benchmark's captions, `a photo of NAME.`."""
    return caption.removeprefix(_PREFIX).removesuffix(_SUFFIX)
