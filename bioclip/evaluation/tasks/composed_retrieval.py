"""Composed retrieval: an image and a text together find images that are like the image but for what the text changes.

| `change` | query | sought |
|-|-|-|
| `species` | an image, and the caption of another species, of the lowest taxon that has one with images | the images of that species |
| `life_stage` | an image, and another life stage of its species | the images of that stage of the species |

`life_stage` needs a column `life_stage`. With the features f of the image, t of its own caption and u of the sought one, `query` is
`shift`, f - t + u (Couairon et al. 2022, "Embedding arithmetic of multimodal queries for image retrieval"), or `sum`, f + u, of unit
length. `image`, f, and `text`, u, are the controls: a composition is of use where it is above both. Captions are of the preferred type for
`species`, and `a photo of SPECIES, STAGE.` for `life_stage`.

`recall_at_k` and `map` are those of `retrieval`; all images but that of the query can be found. At most 500 images are queries, by a hash.
N images, Q queries, D embedding width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bioclip.evaluation.hashed_choice import choose_some, hash_number
from bioclip.evaluation.results import preferred_caption_type
from bioclip.evaluation.statistics import Measurement, Proportion
from bioclip.evaluation.tasks.life_stages import PLACES, stage_caption
from bioclip.evaluation.tasks.retrieval import TOPS, chance_precision, chance_recall, rank_found
from bioclip.evaluation.tasks.task import TaskInput, TaskResult
from bioclip.evaluation.taxonomic_distance import taxon_tree

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_QUERIES = 500
_PART_NUMBERS = 8_000_000


@dataclass(frozen=True)
class Change:
    """Q queries: the image `rows`, the captions `own` and `sought`, and the group of images `target` that each seeks; `groups` [N] is the
    group of every image."""

    name: str
    rows: NDArray[np.int64]
    own: Sequence[str]
    sought: Sequence[str]
    target: NDArray[np.int64]
    groups: NDArray[np.int64]


def run(given: TaskInput) -> TaskResult:
    """Both changes. A model without texts, and images of one class alone, give a note."""
    if given.texts.no_texts or len(np.unique(given.labels)) < 2:
        return TaskResult([], notes={"skipped": given.texts.no_texts or "the images are of fewer than two classes"})
    changes, notes = [change_species(given)], {}
    staged = change_life_stage(given)
    if len(staged.rows):
        changes.append(staged)
    else:
        notes["life_stage"] = "no species has images of two life stages in a column `life_stage`"
    results = [one for change in changes for one in measure_change(given, change)]
    return TaskResult(results, notes={"queries": {change.name: len(change.rows) for change in changes}} | notes)


def change_species(given: TaskInput) -> Change:
    """Each chosen image seeks the images of another species: one of those with images that are nearest by taxonomy, by a hash."""
    rows = choose_some(given.item_ids, MAX_QUERIES, given.settings.seed)
    present, tree = np.unique(given.labels), taxon_tree(given.benchmark.classes)
    target = []
    for row in rows.tolist():
        others = present[present != given.labels[row]]
        distances = tree.distances(np.array(given.labels[row]), others)
        nearest = others[distances == distances.min()]
        target.append(int(nearest[hash_number(given.settings.seed, "composed", given.item_ids[row]) % len(nearest)]))
    prompts = given.prompts(preferred_caption_type(given.settings.caption_types))
    own = [prompts[one] for one in given.labels[rows].tolist()]
    return Change("species", rows, own, [prompts[one] for one in target], np.array(target), given.labels)


def change_life_stage(given: TaskInput) -> Change:
    """Each chosen image with a life stage seeks the images of another stage of its species, by a hash; no query without such stages."""
    stages = [one.strip().casefold() for one in given.benchmark.images.attribute("life_stage", given.item_ids)]
    keys = [(label, stage) if stage in PLACES else (-1, "") for label, stage in zip(given.labels.tolist(), stages, strict=True)]
    number = {key: place for place, key in enumerate(sorted(set(keys) - {(-1, "")}))}
    of_species: dict[int, list[str]] = {}
    for label, stage in number:
        of_species.setdefault(label, []).append(stage)
    able = [row for row, (label, _) in enumerate(keys) if len(of_species.get(label, ())) > 1]
    rows = [able[one] for one in choose_some([given.item_ids[row] for row in able], MAX_QUERIES, given.settings.seed).tolist()]
    own, sought, target = [], [], []
    for row in rows:
        label, stage = keys[row]
        others = [one for one in of_species[label] if one != stage]
        other = others[hash_number(given.settings.seed, "composed stage", given.item_ids[row]) % len(others)]
        own.append(stage_caption(given, label, stage))
        sought.append(stage_caption(given, label, other))
        target.append(number[label, other])
    groups = np.array([number.get(key, -1) for key in keys])
    return Change("life_stage", np.array(rows, dtype=np.int64), own, sought, np.array(target, dtype=np.int64), groups)


def compose(images: NDArray[np.float32], own: NDArray[np.float32], sought: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """[Q, D] queries of unit length by name, from the features of Q images and of their own and sought captions."""
    first, second, third = (one.astype(np.float64) for one in (images, own, sought))
    found = {"shift": first - second + third, "sum": first + third, "image": first, "text": third}
    return {name: one / np.maximum(np.linalg.norm(one, axis=1, keepdims=True), np.finfo(float).tiny) for name, one in found.items()}


def measure_change(given: TaskInput, change: Change) -> list[Measurement]:
    """Every metric of every composition of the queries of `change`."""
    encoded = given.texts.encode_texts([*change.own, *change.sought])
    own, sought = encoded[: len(change.rows)], encoded[len(change.rows) :]
    num = len(given.labels)
    right = np.bincount(change.groups[change.groups >= 0])[change.target]
    chances = {"map": chance_precision(right, num - 1)} | {f"recall_at_{top}": chance_recall(right, num - 1, top) for top in TOPS}
    asked = np.isin(np.arange(num), change.rows).astype(np.float64)
    results = []
    for name, queries in compose(given.images[change.rows], own, sought).items():
        for metric, values in _search(given.images, change, queries).items():
            parameters: dict[str, Any] = {"change": change.name, "query": name}
            results.append(Measurement("composed_retrieval", parameters, metric, Proportion(values, asked), chances[metric]))
    return results


def _search(images: NDArray[np.float32], change: Change, queries: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """[N] values of each metric at the images of the queries."""
    columns = {name: np.zeros(len(images)) for name in ("map", *(f"recall_at_{top}" for top in TOPS))}
    size = max(1, _PART_NUMBERS // len(images))
    for first in range(0, len(queries), size):
        part = slice(first, first + size)
        rows = change.rows[part]
        similarities = queries[part] @ images.T.astype(np.float64)
        similarities[np.arange(len(rows)), rows] = -np.inf
        found = rank_found(similarities, change.groups == change.target[part, None])
        columns["map"][rows] = found.average_precision
        for top in TOPS:
            columns[f"recall_at_{top}"][rows] = found.recall[top]
    return columns
