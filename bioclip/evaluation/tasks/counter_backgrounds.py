"""Zero-shot accuracy where the background disagrees with the species, with the preferred caption type.

Stated backgrounds: the column `background` of the evaluation set, e.g. `snow`. The usual background of a species is the one that most of
its images of the benchmark have; species without a single such background are left out of the comparison (as in CounterAnimal: Wang et al.
2024, "A sober look at the robustness of CLIPs to spurious features", where the usual one is that of a training set).

| metric | parameters | meaning |
|-|-|-|
| `top1` | `background` | accuracy of the images with one background, for the 20 commonest |
| `top1` | `backgrounds` `usual`, `unusual` | accuracy of the images with the usual and with another background of their species |
| `drop` | | usual less unusual accuracy of a species, mean over the species that have both |

Exchanged borders: the image is cut to its central square of 224 px, and all but the central 156 px, half of the area, is replaced: by grey,
by the border of another image of the species, or by that of an image of another species. This changes the frame around the centre, which
is the background only where the organism is in the centre and fills it.

| metric | parameters | meaning |
|-|-|-|
| `top1` | `border` `original`, `grey`, `same_species`, `other_species` | accuracy of the species of the centre |
| `border_species` | `border` `other_species` | share of answers that are the species of the border |
| `background_gap` | | accuracy with the border of the same species less that with another's (Xiao et al. 2021, "Noise or signal") |

The border of the same species has the same seam, so the gap is due to what the border shows. At most 100 images, by a hash. N images, C
classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps

from bioclip.evaluation.corruptions import encode_png
from bioclip.evaluation.hashed_choice import choose_some, hash_number
from bioclip.evaluation.results import preferred_caption_type
from bioclip.evaluation.statistics import Measurement, Parameter, Proportion, Statistic, place_truth, ratio, top_credit
from bioclip.evaluation.statistics.shares import are_the_same_groups
from bioclip.evaluation.tasks.task import TaskInput, TaskResult

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_IMAGES, MAX_BACKGROUNDS = 100, 20
SIZE_PX, CENTRE_PX = 224, 156
GREY = 128
BORDERS = ("original", "grey", "same_species", "other_species")
_NO_DONOR = -1


@dataclass(frozen=True)
class Gap(Statistic):
    """The mean of `first` less `second` [N] over the images that are `asked` [N]."""

    first: NDArray[np.float64]
    second: NDArray[np.float64]
    asked: NDArray[np.bool_]

    @property
    def takes_part(self) -> NDArray[np.bool_]:
        """See Statistic."""
        return self.asked

    def __call__(self, counts: NDArray[np.float64], units: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """See Statistic."""
        counted = counts * self.asked
        return ratio(counted @ (self.first - self.second), counted.sum(axis=1))


@dataclass(frozen=True)
class Drop(Statistic):
    """Accuracy on `usual` [N] images of a class less that on its others, mean over the classes that have both; `hits` [N], `classes` [N]
    is -1 for an image that is left out. Where classes are the units, one that is drawn twice counts twice."""

    hits: NDArray[np.float64]
    usual: NDArray[np.bool_]
    classes: NDArray[np.int64]

    @property
    def takes_part(self) -> NDArray[np.bool_]:
        """See Statistic."""
        return self.classes >= 0

    def __call__(self, counts: NDArray[np.float64], units: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """See Statistic."""
        chosen = np.flatnonzero(self.takes_part)
        order = chosen[np.argsort(self.classes[chosen], kind="stable")]
        starts = np.flatnonzero(np.diff(self.classes[order], prepend=-1))
        drawn, parts = counts[:, order], []
        for part in (self.usual[order], ~self.usual[order]):
            num = np.add.reduceat(drawn * part, starts, axis=1)
            parts.append((num, np.add.reduceat(drawn * part * self.hits[order], starts, axis=1) / np.maximum(num, 1)))
        weights = ((parts[0][0] > 0) & (parts[1][0] > 0)).astype(np.float64)
        if units is not None and are_the_same_groups(self.classes[order], units[order]):
            weights *= np.maximum.reduceat(drawn, starts, axis=1)
        return ratio((weights * (parts[0][1] - parts[1][1])).sum(axis=1), weights.sum(axis=1))


def run(given: TaskInput) -> TaskResult:
    """Both parts; a set without the column has the second only. A model without texts, or images of one class alone, give a note."""
    if given.texts.no_texts or len(np.unique(given.labels)) < 2:
        return TaskResult([], notes={"skipped": given.texts.no_texts or "the images are of fewer than two classes"})
    caption_type = preferred_caption_type(given.settings.caption_types)
    heads = given.heads(caption_type)
    results, notes = measure_stated(given, find_hits(given.images, heads, given.labels), {"caption_type": caption_type})
    exchanged = measure_exchanged(given, heads, {"caption_type": caption_type})
    return TaskResult([*results, *exchanged], notes=notes)


def find_hits(images: NDArray[np.float32], heads: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """[N] credit for the class `labels` [N] at the first place."""
    parts = [slice(first, first + 1_000) for first in range(0, len(images), 1_000)]
    return np.concatenate([top_credit(*place_truth((images[one] @ heads.T).astype(np.float64), labels[one]), 1) for one in parts])


def measure_stated(
    given: TaskInput, hits: NDArray[np.float64], common: Mapping[str, Parameter]
) -> tuple[list[Measurement], dict[str, Any]]:
    """(rows of the column `background`, notes); a note instead of rows where no image states one."""
    stated = given.benchmark.images.attribute("background", given.item_ids)
    if not any(stated):
        return [], {"stated": "the evaluation set has no column `background`"}
    num = len(given.benchmark.classes)
    values = np.array(stated, dtype=object)
    asked = values != ""

    def measure(chosen: NDArray[np.bool_], **more: Parameter) -> Measurement:
        share = Proportion(hits * chosen, chosen.astype(np.float64))
        return Measurement("counter_backgrounds", {**common, **more}, "top1", share, 1 / num, None, num)

    commonest = [name for name, _ in sorted(Counter(values[asked].tolist()).items(), key=lambda one: (-one[1], one[0]))]
    results = [measure(values == name, background=name) for name in commonest[:MAX_BACKGROUNDS]]
    usual = find_usual(stated, given.labels)
    known = asked & (usual != "")
    is_usual = known & (values == usual)
    notes: dict[str, Any] = {"backgrounds": len(commonest), "images_with_background": int(asked.sum()), "compared_images": int(known.sum())}
    both = np.intersect1d(given.labels[is_usual], given.labels[known & ~is_usual])
    if len(both):
        results += [measure(is_usual, backgrounds="usual"), measure(known & ~is_usual, backgrounds="unusual")]
        number = np.full(num, -1)
        number[both] = np.arange(len(both))
        drop = Drop(hits, is_usual, np.where(known, number[given.labels], -1))
        results.append(Measurement("counter_backgrounds", common, "drop", drop, 0.0, None, len(both)))
    return results, notes


def find_usual(stated: list[str], labels: NDArray[np.int64]) -> NDArray[Any]:
    """[N] the background that most images of each image's class have; '' where several are as common, or none is stated."""
    counts: dict[int, Counter[str]] = {}
    for background, label in zip(stated, labels.tolist(), strict=True):
        counts.setdefault(label, Counter()).update([background] if background else [])
    usual = {}
    for label, one in counts.items():
        first = one.most_common(2)
        usual[label] = "" if not first or (len(first) > 1 and first[0][1] == first[1][1]) else first[0][0]
    return np.array([usual[label] for label in labels.tolist()], dtype=object)


def measure_exchanged(given: TaskInput, heads: NDArray[np.float32], common: Mapping[str, Parameter]) -> list[Measurement]:
    """Rows of exchanged borders."""
    chosen = choose_some(given.item_ids, MAX_IMAGES, given.settings.seed)
    donors = choose_donors(given, chosen)
    features = _encode(given, chosen, donors)
    num, num_images = len(heads), len(given.labels)
    labels = {"border_species": given.labels[np.maximum(donors["other_species"], 0)], "top1": given.labels[chosen]}

    def measure(metric: str, border: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        rows, images = features[border]
        hits, asked = np.zeros(num_images), np.zeros(num_images, dtype=bool)
        asked[chosen[rows]] = True
        if len(rows):
            hits[chosen[rows]] = find_hits(images, heads, labels[metric][rows])
        return hits, asked

    found = {("top1", border): measure("top1", border) for border in BORDERS}
    found["border_species", "other_species"] = measure("border_species", "other_species")
    results = [
        Measurement(
            "counter_backgrounds", {**common, "border": border}, metric, Proportion(hits, asked.astype(np.float64)), 1 / num, None, num
        )
        for (metric, border), (hits, asked) in found.items()
        if asked.any()
    ]
    (same, has_same), (other, has_other) = found["top1", "same_species"], found["top1", "other_species"]
    if (has_same & has_other).any():
        gap = Gap(same, other, has_same & has_other)
        results.append(Measurement("counter_backgrounds", common, "background_gap", gap, 0.0, None, num))
    return results


def choose_donors(given: TaskInput, chosen: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """By border [len(chosen)]: the image whose border each chosen image gets, by a hash; -1 where there is none."""
    found: dict[str, list[int]] = {"same_species": [], "other_species": []}
    for image in chosen.tolist():
        is_same = given.labels == given.labels[image]
        for name, able in (("same_species", is_same & (np.arange(len(is_same)) != image)), ("other_species", ~is_same)):
            donors = np.flatnonzero(able)
            number = hash_number(given.settings.seed, "border", name, given.item_ids[image])
            found[name].append(int(donors[number % len(donors)]) if len(donors) else _NO_DONOR)
    return {name: np.array(donors, dtype=np.int64) for name, donors in found.items()}


def exchange_border(centre: NDArray[np.uint8], border: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`border` [224, 224, 3] with the central 156 px of `centre` [224, 224, 3]."""
    margin = (SIZE_PX - CENTRE_PX) // 2
    inner = slice(margin, margin + CENTRE_PX)
    found = border.copy()
    found[inner, inner] = centre[inner, inner]
    return found


def _encode(
    given: TaskInput, chosen: NDArray[np.int64], donors: Mapping[str, NDArray[np.int64]]
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """By border: (the rows of `chosen` that have one, their features)."""
    encoded = given.texts.encode_images(_iter_exchanged(given, chosen, donors))
    names, rows = zip(*(one.split("/") for one in encoded.ids), strict=True)
    borders, numbers = np.array(names), np.array(rows, dtype=np.int64)
    return {border: (numbers[borders == border], encoded.features[borders == border]) for border in BORDERS}


def _iter_exchanged(given: TaskInput, chosen: NDArray[np.int64], donors: Mapping[str, NDArray[np.int64]]) -> Iterator[tuple[str, bytes]]:
    needed = np.unique(np.concatenate([chosen, *donors.values()]))
    keys = [given.item_ids[one] for one in needed.tolist() if one != _NO_DONOR]
    squares = {key: _square(data) for key, data in given.benchmark.images.select(keys).iter_images()}
    for row, image in enumerate(chosen.tolist()):
        centre = squares[given.item_ids[image]]
        borders = {"original": centre, "grey": np.full_like(centre, GREY)}
        borders |= {name: squares[given.item_ids[one[row]]] for name, one in donors.items() if one[row] != _NO_DONOR}
        for name, border in borders.items():
            yield f"{name}/{row}", encode_png(Image.fromarray(exchange_border(centre, border)))


def _square(data: bytes) -> NDArray[np.uint8]:
    with Image.open(BytesIO(data)) as opened:
        return np.asarray(ImageOps.fit(opened.convert("RGB"), (SIZE_PX, SIZE_PX), Image.Resampling.BICUBIC))
