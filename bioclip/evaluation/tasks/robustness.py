"""Zero-shot accuracy on corrupted and on small images, with the preferred caption type.

Each image is resized to a shorter side of 224 px, then changed by 15 corruptions at five severities (`bioclip.evaluation.corruptions`) and
encoded again; `none` is the resized image itself. A row is the mean accuracy of one corruption over the severities, of one severity over
the corruptions, or of all 75 (`all`). `retained` is that mean less chance, as a share of the accuracy on `none` less chance; it is left out
where `none` is not above chance. For `shorter_px` the image is resized to that many pixels, and the model enlarges it. At most 100 images,
by a hash."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from bioclip.evaluation.corruptions import CORRUPTIONS, SEVERITIES, SHORTER_SIDE_PX, corrupt, encode_png, shrink
from bioclip.evaluation.hashed_choice import choose_some
from bioclip.evaluation.results import preferred_caption_type
from bioclip.evaluation.statistics import Measurement, Parameter, Proportion, Statistic, place_truth, top_credit
from bioclip.evaluation.tasks.task import TaskInput, TaskResult

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_IMAGES = 100
SHORTER_PX = (28, 56, 112)
NONE = "none"
Variant = tuple[str, int]
"""(a corruption or `none`, severity) or (`shorter_px`, pixels)."""
VARIANTS: tuple[Variant, ...] = (
    (NONE, 0),
    *(("shorter_px", px) for px in SHORTER_PX),
    *product(CORRUPTIONS, SEVERITIES),
)


@dataclass(frozen=True)
class Retained(Statistic):
    """Accuracy above `chance` on corrupted images as a share of that on clean ones; `corrupted` and `clean` [N] are hits, 0 to 1."""

    corrupted: NDArray[np.float64]
    clean: NDArray[np.float64]
    asked: NDArray[np.bool_]
    chance: float

    @property
    def takes_part(self) -> NDArray[np.bool_]:
        """See Statistic."""
        return self.asked

    def __call__(self, counts: NDArray[np.float64], units: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """See Statistic."""
        counted = counts * self.asked
        total = np.maximum(counted.sum(axis=1), 1e-12)
        above = counted @ self.clean / total - self.chance
        return np.where(above > 0, (counted @ self.corrupted / total - self.chance) / np.where(above > 0, above, 1), np.nan)


def run(given: TaskInput) -> TaskResult:
    """All corruptions and sizes. A model without texts gives a note instead."""
    if given.texts.no_texts:
        return TaskResult([], notes={"skipped": given.texts.no_texts})
    chosen = [given.item_ids[one] for one in choose_some(given.item_ids, MAX_IMAGES, given.settings.seed).tolist()]
    caption_type = preferred_caption_type(given.settings.caption_types)
    hits = _encode(given, chosen, given.heads(caption_type))
    return TaskResult(_measurements(hits, given, caption_type), notes={"images": len(chosen)})


def iter_variants(images: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """(`number of the variant/item id`, PNG) of every variant of every image."""
    for item_id, data in images:
        with Image.open(BytesIO(data)) as opened:
            image = opened.convert("RGB")
        resized = shrink(image, SHORTER_SIDE_PX)
        for number, (name, level) in enumerate(VARIANTS):
            source = shrink(image, level) if name == "shorter_px" else resized
            changed = corrupt(source, name, level, item_id) if name in CORRUPTIONS else source
            yield f"{number}/{item_id}", encode_png(changed)


def _encode(given: TaskInput, chosen: Sequence[str], heads: NDArray[np.float32]) -> dict[Variant, NDArray[np.float64]]:
    """[N] hits of each variant, NaN for the images that are not chosen."""
    place = {key: number for number, key in enumerate(given.item_ids)}
    encoded = given.texts.encode_images(iter_variants(given.benchmark.images.select(chosen).iter_images()))
    numbers, rows = (np.array(one) for one in zip(*_read_ids(encoded.ids, place), strict=True))
    scores = (encoded.features @ heads.T).astype(np.float64)
    credit = top_credit(*place_truth(scores, given.labels[rows]), 1)
    found = {}
    for number, variant in enumerate(VARIANTS):
        found[variant] = np.full(len(given.labels), np.nan)
        found[variant][rows[numbers == number]] = credit[numbers == number]
    return found


def _read_ids(ids: Sequence[str], place: dict[str, int]) -> Iterator[tuple[int, int]]:
    for one in ids:
        number, _, item_id = one.partition("/")
        yield int(number), place[item_id]


def _measurements(hits: dict[Variant, NDArray[np.float64]], given: TaskInput, caption_type: str) -> list[Measurement]:
    num = len(given.benchmark.classes)
    asked = np.isfinite(hits[NONE, 0])

    def measure(variants: Sequence[Variant], **parameters: Parameter) -> Measurement:
        total = np.sum([np.nan_to_num(hits[one]) for one in variants], axis=0)
        statistic = Proportion(total, asked * float(len(variants)))
        return Measurement("robustness", {"caption_type": caption_type} | parameters, "top1", statistic, 1 / num, None, num)

    results = [measure([(NONE, 0)], corruption=NONE)]
    results += [measure([("shorter_px", px)], shorter_px=px) for px in SHORTER_PX]
    results += [measure([(name, one) for one in SEVERITIES], corruption=name) for name in CORRUPTIONS]
    results += [measure([(name, one) for name in CORRUPTIONS], corruption="all", severity=one) for one in SEVERITIES]
    every = list(product(CORRUPTIONS, SEVERITIES))
    results.append(measure(every, corruption="all"))
    clean = np.nan_to_num(hits[NONE, 0])
    if clean.sum() / asked.sum() > 1 / num:
        corrupted = np.mean([np.nan_to_num(hits[one]) for one in every], axis=0)
        statistic = Retained(corrupted, clean, asked, 1 / num)
        results.append(
            Measurement("robustness", {"caption_type": caption_type, "corruption": "all"}, "retained", statistic, 0.0, None, num)
        )
    return results
