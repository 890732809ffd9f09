"""Retrieval within a benchmark: images by an image of the same species, and images by the caption of their species.

| direction | query | found |
|-|-|-|
| `image_to_image` | each image whose species has another one | the other images |
| `text_to_image` | each species that has images, by the preferred caption type | all images |

`recall_at_1` and `recall_at_5` are shares of the queries that have a right image among the first k, `map` the mean average precision (the
mean over the right images of the precision at their place). Images of equal similarity count with the precision of their whole group.
Captions by an image are `zero_shot`. At most 2,000 images (by a hash) are queries. A query of `text_to_image` is counted at the first image
of its species, so its interval is over queries. N images, C classes, D embedding width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.hashed_choice import choose_some
from bioclip.evaluation.results import preferred_caption_type
from bioclip.evaluation.statistics import Measurement, Parameter, Proportion
from bioclip.evaluation.tasks.task import TaskInput, TaskResult

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_QUERIES = 2_000
TOPS = (1, 5)
_PART_NUMBERS = 8_000_000


@dataclass(frozen=True)
class Found:
    """Of Q queries: average precision, and whether a right image is among the first k."""

    average_precision: NDArray[np.float64]
    recall: dict[int, NDArray[np.float64]]


def run(given: TaskInput) -> TaskResult:
    """Both directions; a model without texts has the first only."""
    sizes = np.bincount(given.labels, minlength=len(given.benchmark.classes))
    able = np.flatnonzero(sizes[given.labels] > 1)
    queries = able[choose_some([given.item_ids[one] for one in able.tolist()], MAX_QUERIES, given.settings.seed)]
    results, notes = [], {"image_queries": len(queries)}
    if len(queries) and (sizes > 0).sum() > 1:
        results += _of_images(given, queries, sizes)
    if not given.texts.no_texts and (sizes > 0).sum() > 1:
        notes["text_queries"] = int((sizes > 0).sum())
        results += _of_texts(given, sizes)
    return TaskResult(results, notes=notes)


def rank_found(similarities: NDArray[np.float64], is_right: NDArray[np.bool_]) -> Found:
    """Scores of queries with `similarities` [Q, N] to images of which `is_right` [Q, N] are sought; -inf leaves an image out."""
    num, precision = len(similarities), np.zeros(len(similarities))
    recall = {top: np.zeros(num) for top in TOPS}
    for query, (row, right) in enumerate(zip(similarities, is_right, strict=True)):
        order = np.argsort(-row, kind="stable")[: int(np.isfinite(row).sum())]
        values, hits = row[order], right[order].astype(np.float64)
        ends = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
        shown, found = ends + 1, np.cumsum(hits)[ends]
        gained = np.diff(found, prepend=0)
        precision[query] = (gained * found / shown).sum() / max(found[-1], 1)
        for top in TOPS:
            recall[top][query] = _hit_chance(gained, shown, top)
    return Found(precision, recall)


def _hit_chance(gained: NDArray[np.float64], shown: NDArray[np.int64], top: int) -> float:
    """Probability that one of the first `top` is right when groups of equal similarity, with `gained` right ones, are in random order."""
    group = int((shown < top).sum())
    if gained[:group].any() or group >= len(shown):
        return float(gained[:group].any())
    before = int(shown[group - 1]) if group else 0
    return chance_recall(gained[group : group + 1], int(shown[group]) - before, top - before)


def _of_images(given: TaskInput, queries: NDArray[np.int64], sizes: NDArray[np.int64]) -> list[Measurement]:
    num = len(given.labels)
    columns: dict[str, NDArray[np.float64]] = {name: np.zeros(num) for name in ("map", *(f"recall_at_{top}" for top in TOPS))}
    size = max(1, _PART_NUMBERS // num)
    for first in range(0, len(queries), size):
        part = queries[first : first + size]
        similarities = (given.images[part] @ given.images.T).astype(np.float64)
        similarities[np.arange(len(part)), part] = -np.inf
        found = rank_found(similarities, given.labels == given.labels[part, None])
        columns["map"][part] = found.average_precision
        for top in TOPS:
            columns[f"recall_at_{top}"][part] = found.recall[top]
    asked = np.isin(np.arange(num), queries).astype(np.float64)
    right = sizes[given.labels[queries]] - 1
    chances = {"map": chance_precision(right, num - 1)} | {f"recall_at_{top}": chance_recall(right, num - 1, top) for top in TOPS}
    parameters: dict[str, Parameter] = {"direction": "image_to_image"}
    return [Measurement("retrieval", parameters, name, Proportion(values, asked), chances[name]) for name, values in columns.items()]


def _of_texts(given: TaskInput, sizes: NDArray[np.int64]) -> list[Measurement]:
    classes = np.flatnonzero(sizes)
    caption_type = preferred_caption_type(given.settings.caption_types)
    prompts = given.prompts(caption_type)
    heads = given.texts.encode_texts([prompts[one] for one in classes.tolist()])
    precision, recall = np.zeros(len(sizes)), {top: np.zeros(len(sizes)) for top in TOPS}
    size = max(1, _PART_NUMBERS // len(given.labels))
    for first in range(0, len(classes), size):
        part = classes[first : first + size]
        found = rank_found((heads[first : first + size] @ given.images.T).astype(np.float64), given.labels == part[:, None])
        precision[part] = found.average_precision
        for top in TOPS:
            recall[top][part] = found.recall[top]
    num, right = len(given.labels), sizes[classes]
    columns = {"map": (precision, chance_precision(right, num))}
    columns |= {f"recall_at_{top}": (recall[top], chance_recall(right, num, top)) for top in TOPS}
    parameters: dict[str, Parameter] = {"direction": "text_to_image", "caption_type": caption_type}
    asked = np.zeros(num)
    asked[np.unique(given.labels, return_index=True)[1]] = 1
    return [
        Measurement("retrieval", parameters, name, Proportion(values[given.labels] * asked, asked), chance, num_classes=len(classes))
        for name, (values, chance) in columns.items()
    ]


def chance_recall(right: NDArray[np.int64] | NDArray[np.float64], num_images: int, top: int) -> float:
    """Mean probability that one of `top` images drawn from `num_images` is among the `right` [Q] ones."""
    places = np.arange(min(top, num_images))
    missed = np.prod(np.clip((num_images - right[:, None] - places) / (num_images - places), 0, 1), axis=1)
    return float((1 - missed).mean())


def chance_precision(right: NDArray[np.int64], num_images: int) -> float:
    """Mean expected average precision of a random order: H / n + (r - 1) / (n - 1) (1 - H / n) for r right ones of n and H the n-th
    harmonic number (Bestgen 2015, "Exact expected average precision of the random baseline for system evaluation")."""
    harmonic = float((1 / np.arange(1, num_images + 1)).sum()) / num_images
    return float((harmonic + (right - 1) / max(num_images - 1, 1) * (1 - harmonic)).mean())
