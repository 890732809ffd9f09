"""Whether a caption of an image is preferred to the same caption with a wrong or a moved attribute.

Each class has pairs of a right and a wrong caption, which differ in one attribute (as in ARO: Yuksekgonul et al. 2023, "When and why
vision-language models behave like bags-of-words", and SugarCrepe: Hsieh et al. 2023). `right_caption` is the share of images that are
nearer to the right one; equal captions count one half, which is chance.

| `attribute` | right caption | wrong caption |
|-|-|-|
| `epithet` | a photo of GENUS EPITHET. | the epithet of a species of another genus |
| `genus` | the same | the genus of that species |
| `word_order` | the same | a photo of EPITHET GENUS. |
| `common_name` | a photo of GENUS EPITHET with common name NAME. | the common name of another species |
| `colour` | a photo of GENUS EPITHET, DESCRIPTION. | two colours of the description are exchanged |

The other species is of the same family where there is one, by a hash, and the wrong name is none of the classes'. `colour` needs
`evaluation.descriptions` and takes the descriptions with two colours that belong to different words: "black with white spots", but not
"black and white". `word_order` and `colour` keep the words of the caption, so a model that ignores their order scores one half.

A wrong caption may be improbable as a text. `features` `mean_image` therefore repeats the comparison with the mean feature of all images in
place of the image: what it has above one half is due to the captions alone. At most 2,000 classes, by a hash. N images, D embedding
width."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.hashed_choice import choose_some, hash_number
from bioclip.evaluation.heads.descriptions import describe, read_descriptions
from bioclip.evaluation.statistics import Measurement, Proportion
from bioclip.evaluation.tasks.task import TaskInput, TaskResult
from bioclip.records import RANKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioclip.evaluation.benchmark import SpeciesClass

MAX_CLASSES, MAX_DESCRIPTIONS = 2_000, 5
ATTRIBUTES = ("epithet", "genus", "word_order", "common_name", "colour")
COLOURS = (
    "black", "white", "grey", "gray", "red", "orange", "yellow", "green", "blue", "purple", "violet", "pink", "brown", "cream", "golden",
    "silver", "tan", "buff", "rufous", "crimson", "scarlet", "olive", "turquoise",
)  # fmt: skip
_COLOUR = re.compile(rf"\b({'|'.join(COLOURS)})\b", re.IGNORECASE)
_JOINED = re.compile(r"([\s,/-]|\band\b|\bor\b|\bto\b)*", re.IGNORECASE)
"""What may be between two colours of one thing."""
_GENUS, _FAMILY = RANKS.index("genus"), RANKS.index("family")
_TRIES = 20


@dataclass(frozen=True)
class CaptionPair:
    """A right and a wrong caption of the class with number `label`."""

    label: int
    right: str
    wrong: str


def run(given: TaskInput) -> TaskResult:
    """Every attribute that the classes have. A model without texts, and classes without any attribute, give a note."""
    if given.texts.no_texts:
        return TaskResult([], notes={"skipped": given.texts.no_texts})
    pairs = {attribute: found for attribute, found in make_pairs(given).items() if found}
    if not pairs:
        return TaskResult([], notes={"skipped": "no class has a genus and an epithet, so no caption can be changed"})
    results = [measurement for attribute, found in pairs.items() for measurement in _measure(given, attribute, found)]
    return TaskResult(results, notes={"captions": {attribute: len(found) for attribute, found in pairs.items()}})


def make_pairs(given: TaskInput) -> dict[str, list[CaptionPair]]:
    """The pairs of each attribute, for the classes that have images. Raises EvaluationError for descriptions that cannot be read."""
    classes, present = given.benchmark.classes, np.unique(given.labels)
    chosen = present[choose_some([" ".join(classes[one].lineage) for one in present.tolist()], MAX_CLASSES, given.settings.seed)]
    descriptions = read_descriptions(given.settings.descriptions)
    partners = Partners(classes, given.settings.seed)
    found: dict[str, list[CaptionPair]] = {name: [] for name in ATTRIBUTES}
    for label in chosen.tolist():
        genus, epithet = split_name(classes[label])
        if epithet:
            made = _change_name(label, genus, epithet, partners) | _change_colours(f"{genus} {epithet}", descriptions)
            for attribute, both in made.items():
                found[attribute] += [CaptionPair(label, right, wrong) for right, wrong in both]
    return found


def _change_name(label: int, genus: str, epithet: str, partners: Partners) -> dict[str, list[tuple[str, str]]]:
    """Right and wrong captions of class `label` by attribute of its names."""
    name = f"{genus} {epithet}"
    right, own = describe(name, ""), partners.classes[label].common_name
    found = {"word_order": [(right, describe(f"{epithet} {genus}", ""))]}
    if other := partners.of_name(label):
        found["epithet"] = [(right, describe(f"{genus} {other[1]}", ""))]
        found["genus"] = [(right, describe(f"{other[0]} {epithet}", ""))]
    if common := partners.of_common_name(label):
        found["common_name"] = [(f"a photo of {name} with common name {own}.", f"a photo of {name} with common name {common}.")]
    return found


def _change_colours(name: str, descriptions: Mapping[str, Mapping[str, str]]) -> dict[str, list[tuple[str, str]]]:
    changed = [(text, exchange_colours(text)) for text in descriptions.get(name, {}).values()]
    return {"colour": [(describe(name, text), describe(name, wrong)) for text, wrong in changed if wrong][:MAX_DESCRIPTIONS]}


def split_name(one: SpeciesClass) -> tuple[str, str]:
    """(genus, epithet) of a class, '' where its lineage has no genus or no species of that genus."""
    genus, species = one.lineage[_GENUS], one.lineage[-1]
    return (genus, species.removeprefix(f"{genus} ")) if genus and species.startswith(f"{genus} ") else ("", "")


def exchange_colours(text: str) -> str:
    """`text` with two of its colours exchanged throughout; '' without two that belong to different words.

    The colours are the first two that follow each other, differ, and have another word between them.
    """
    found = list(_COLOUR.finditer(text))
    for first, second in pairwise(found):
        one, other = first[0].casefold(), second[0].casefold()
        if one != other and not _JOINED.fullmatch(text[first.end() : second.start()]):
            return _COLOUR.sub(partial(_exchange, {one: other, other: one}), text)
    return ""


def _exchange(colours: Mapping[str, str], found: re.Match[str]) -> str:
    colour = colours.get(found[0].casefold(), found[0])
    return colour.capitalize() if found[0][0].isupper() else colour


class Partners:
    """Other species whose names give the wrong attribute of a class."""

    def __init__(self, classes: Sequence[SpeciesClass], seed: int) -> None:
        self.classes = classes
        self.seed = seed
        self._names = {one.lineage[-1] for one in classes}
        self._family: dict[tuple[str, ...], list[int]] = {}
        for number, one in enumerate(classes):
            self._family.setdefault(one.lineage[: _FAMILY + 1], []).append(number)

    def of_name(self, label: int) -> tuple[str, str] | None:
        """(genus, epithet) of a species of another genus; neither gives the name of a class when it replaces that of class `label`."""
        genus, epithet = split_name(self.classes[label])
        for other in self._candidates(label, "name"):
            genus_there, epithet_there = split_name(self.classes[other])
            made = {f"{genus} {epithet_there}", f"{genus_there} {epithet}"}
            if epithet_there and genus_there != genus and epithet_there != epithet and not made & self._names:
                return genus_there, epithet_there
        return None

    def of_common_name(self, label: int) -> str:
        """The common name of another species that differs from that of class `label`; '' where there is none."""
        own = self.classes[label].common_name.casefold()
        names = (self.classes[other].common_name for other in self._candidates(label, "common")) if own else ()
        return next((name for name in names if name and name.casefold() != own), "")

    def _candidates(self, label: int, purpose: str) -> list[int]:
        """Classes of the family, then of all, by a hash."""
        name = self.classes[label].lineage[-1]
        found = []
        for pool in (self._family[self.classes[label].lineage[: _FAMILY + 1]], range(len(self.classes))):
            places = (hash_number(self.seed, purpose, name, number) % len(pool) for number in range(_TRIES))
            found += [pool[place] for place in places]
        return found


def _measure(given: TaskInput, attribute: str, pairs: Sequence[CaptionPair]) -> list[Measurement]:
    encoded = given.texts.encode_texts([text for pair in pairs for text in (pair.right, pair.wrong)]).astype(np.float64)
    differences = encoded[::2] - encoded[1::2]
    by_class: dict[int, list[int]] = {}
    for number, pair in enumerate(pairs):
        by_class.setdefault(pair.label, []).append(number)
    mean = given.images.mean(axis=0, dtype=np.float64)
    num = len(given.labels)
    columns: Mapping[str, NDArray[np.float64]] = {"image": np.zeros(num), "mean_image": np.zeros(num)}
    asked = np.zeros(num)
    for label, numbers in by_class.items():
        rows = np.flatnonzero(given.labels == label)
        asked[rows] = 1
        columns["image"][rows] = preference(given.images[rows] @ differences[numbers].T)
        columns["mean_image"][rows] = preference(mean[None] @ differences[numbers].T)
    return [
        Measurement(
            "attribute_binding", {"attribute": attribute, "features": name}, "right_caption", Proportion(values, asked), 0.5, None, 2
        )
        for name, values in columns.items()
    ]


def preference(margins: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N] mean over the pairs of 1 where the margin [N, pairs] of the right caption is positive, one half where it is 0."""
    found: NDArray[np.float64] = ((np.sign(margins) + 1) / 2).mean(axis=1)
    return found
