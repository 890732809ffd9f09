"""The order of life stages: whether captions rank the images of a species from egg to adult, where the evaluation set has a column
`life_stage`.

For an image of a species, the stages that the benchmark has images of are the answers, by the captions `a photo of SPECIES, STAGE.`, and
its expected stage is the mean of their places weighted by the softmax of the cosines times the model's logit scale.

| metric | meaning |
|-|-|
| `kendall_tau` | Kendall's tau-b of the expected stage and the true one, over all pairs of images of one species (Kendall 1945) |
| `top1` | share of images whose most probable stage is the true one |

Places are those of PLACES, so that a pupa is between a larva and an adult; stages of one place are ties. Species with one place are left
out. At most 400 images, by a hash. N images, M of them asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bioclip.evaluation.class_probabilities import softmax
from bioclip.evaluation.hashed_choice import choose_some
from bioclip.evaluation.heads.descriptions import describe
from bioclip.evaluation.statistics import Measurement, Proportion, Statistic, place_truth, ratio, top_credit
from bioclip.evaluation.tasks.task import TaskInput, TaskResult

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_IMAGES, MAX_NAMED = 400, 10
PLACES: Mapping[str, int] = {
    "egg": 0, "seed": 0, "spore": 0,
    "larva": 1, "caterpillar": 1, "maggot": 1, "tadpole": 1, "hatchling": 1, "nestling": 1, "chick": 1, "seedling": 1,
    "pupa": 2, "chrysalis": 2, "nymph": 2, "juvenile": 2, "immature": 2, "fledgling": 2, "sapling": 2,
    "subadult": 3, "subimago": 3,
    "adult": 4, "imago": 4, "mature": 4,
}  # fmt: skip
"""Stage -> its place among the stages of a species."""


@dataclass(frozen=True)
class StagedImages:
    """M `rows` of the N images, whose species have images of two places or more, with the `stage` [M] of each in lower case; `unknown`
    counts the stages that PLACES does not have."""

    rows: NDArray[np.int64]
    stage: tuple[str, ...]
    unknown: Counter[str]


@dataclass(frozen=True)
class KendallTau(Statistic):
    """Kendall's tau-b of `found` and `true` [M], over the pairs with one `group` [M]; they are the values of the images `rows` [M] of
    `num_images`. It is 0 where all values found are equal."""

    found: NDArray[np.float64]
    true: NDArray[np.int64]
    group: NDArray[np.int64]
    rows: NDArray[np.int64]
    num_images: int

    @property
    def takes_part(self) -> NDArray[np.bool_]:
        """See Statistic."""
        return np.isin(np.arange(self.num_images), self.rows)

    def __call__(self, counts: NDArray[np.float64], units: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """See Statistic."""
        together = self.group[:, None] == self.group
        found, true = (np.sign(one[:, None] - one) * together for one in (self.found, self.true))
        drawn = counts[:, self.rows]
        agreeing, found_pairs, true_pairs = (((drawn @ one) * drawn).sum(axis=1) for one in (found * true, found**2, true**2))
        return ratio(agreeing, np.sqrt(np.where(found_pairs > 0, found_pairs, 1) * true_pairs))


def run(given: TaskInput) -> TaskResult:
    """Both metrics. A model without texts, and a set without species that have two stages, give a note."""
    if given.texts.no_texts:
        return TaskResult([], notes={"skipped": given.texts.no_texts})
    staged = find_stages(given)
    notes: dict[str, Any] = {"unknown_stages": dict(staged.unknown.most_common(MAX_NAMED))} if staged.unknown else {}
    if not len(staged.rows):
        return TaskResult([], notes={"skipped": "no species has images of two life stages in a column `life_stage`"} | notes)
    found, hits, num_stages = rank_stages(given, staged)
    labels, num = given.labels[staged.rows], len(given.labels)
    places = np.array([PLACES[one] for one in staged.stage])
    tau = KendallTau(found, places, labels, staged.rows, num)
    values, asked = np.zeros(num), np.zeros(num)
    values[staged.rows], asked[staged.rows] = hits, 1
    chance = float((1 / num_stages).mean())
    results = [
        Measurement("life_stages", {}, "kendall_tau", tau, 0.0, None, len(np.unique(labels))),
        Measurement("life_stages", {}, "top1", Proportion(values, asked), chance, None, int(num_stages.max())),
    ]
    return TaskResult(results, notes=notes | {"images": len(staged.rows), "stages": dict(Counter(staged.stage))})


def find_stages(given: TaskInput) -> StagedImages:
    """The images to ask, at most 400."""
    stated = [one.strip().casefold() for one in given.benchmark.images.attribute("life_stage", given.item_ids)]
    places: dict[int, set[int]] = {}
    for label, stage in zip(given.labels.tolist(), stated, strict=True):
        places.setdefault(label, set()).update([PLACES[stage]] if stage in PLACES else [])
    able = [row for row, label in enumerate(given.labels.tolist()) if stated[row] in PLACES and len(places[label]) > 1]
    chosen = [able[one] for one in choose_some([given.item_ids[row] for row in able], MAX_IMAGES, given.settings.seed).tolist()]
    unknown = Counter(stage for stage in stated if stage and stage not in PLACES)
    return StagedImages(np.array(chosen, dtype=np.int64), tuple(stated[row] for row in chosen), unknown)


def rank_stages(given: TaskInput, staged: StagedImages) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """([M] expected place, [M] 1 where the most probable stage is the true one, [M] number of stages to choose from)."""
    labels, stage = given.labels[staged.rows], np.array(staged.stage)
    found, hits, num_stages = np.zeros(len(labels)), np.zeros(len(labels)), np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels).tolist():
        members = np.flatnonzero(labels == label)
        stages = sorted(set(stage[members].tolist()))
        heads = given.texts.encode_texts([stage_caption(given, label, one) for one in stages])
        logits = (given.images[staged.rows[members]] @ heads.T).astype(np.float64) * given.texts.logit_scale
        found[members] = softmax(logits) @ np.array([PLACES[one] for one in stages], dtype=np.float64)
        hits[members] = top_credit(*place_truth(logits, np.searchsorted(stages, stage[members])), 1)
        num_stages[members] = len(stages)
    return found, hits, num_stages


def stage_caption(given: TaskInput, label: int, stage: str) -> str:
    """The caption of a stage of the class `label`."""
    return describe(given.benchmark.classes[label].lineage[-1], stage)
