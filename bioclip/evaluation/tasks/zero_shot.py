"""Zero-shot classification: the species whose caption is nearest, and every higher rank by summing over its species.

Species probabilities are the softmax of the cosine similarities times the model's own logit scale; a taxon's probability is the sum
over its species in the label set. N images, C species, T taxa of a rank, D embedding width.

Two species may have one prompt, for example a vernacular name of both. Their scores are then equal, which no image can decide: the
classes are counted in the notes and scored as a tie (see `top_credit`), at each rank where they are different taxa.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from bioclip.errors import EvaluationError
from bioclip.evaluation.metrics import find_metric
from bioclip.evaluation.predictions import Predictions, Ranked, rank_answers
from bioclip.evaluation.tasks.task import TaskInput, TaskResult
from bioclip.records import RANKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioclip.evaluation.benchmark import SpeciesClass
    from bioclip.models.text_context import CutTexts

_CHUNK_NUMBERS = 8_000_000
_MAX_EXAMPLES, _MAX_NAMES = 3, 4


def run(given: TaskInput) -> TaskResult:
    """Every caption type at every rank, by every metric of `settings.metrics`. A model without texts gives a note instead."""
    if given.texts.no_texts:
        return TaskResult([], notes={"skipped": given.texts.no_texts})
    metrics = [find_metric(name) for name in given.settings.metrics]
    predictions: list[Predictions] = []
    shared, cut = {}, {}
    for caption_type in given.settings.caption_types:
        if counts := _cut_captions(given, caption_type):
            cut[caption_type] = counts.to_dict()
        heads = given.heads(caption_type)
        if found_shared := find_shared_prompts(given.prompts(caption_type), heads, [c.lineage[-1] for c in given.benchmark.classes]):
            shared[caption_type] = found_shared
        ranks = given.settings.ranks
        predictions += predict(given.images, heads, given.texts.logit_scale, given.labels, given.benchmark.classes, ranks, caption_type)
    found = [metric(one) for one in predictions for metric in metrics]
    notes = {name: one for name, one in (("shared_prompts", shared), ("cut_captions", cut)) if one}
    return TaskResult([measurement for measurement in found if measurement is not None], predictions, notes)


def _cut_captions(given: TaskInput, caption_type: str) -> CutTexts | None:
    """The counts of the classes' captions if the context cuts some; raises EvaluationError above `max_cut_share`."""
    counts = given.texts.measure_texts(given.prompts(caption_type))
    if counts is None or not counts.num_cut:
        return None
    if counts.share > given.settings.max_cut_share:
        raise EvaluationError(
            f"benchmark {given.benchmark.name!r}: {counts.describe(caption_type)}, above evaluation.max_cut_share = "
            f"{given.settings.max_cut_share}; leave the type out of evaluation.caption_types, choose another model, or raise the setting."
        )
    return counts


def find_shared_prompts(prompts: Sequence[str], heads: NDArray[np.float32], names: Sequence[str]) -> dict[str, Any]:
    """Classes that no image can distinguish, since their prompts or the encoder's features of them are the same; {} without any.

    `num_classes` counts them, `num_prompts` what they share, `examples` lists the first: prompt and names of its classes.
    """
    of_class = distinct_rows(heads)[1]
    groups: dict[int, list[int]] = {}
    for position, number in enumerate(of_class.tolist()):
        groups.setdefault(number, []).append(position)
    shared = [members for members in groups.values() if len(members) > 1]
    if not shared:
        return {}
    examples = [{"prompt": prompts[members[0]], "classes": [names[one] for one in members[:_MAX_NAMES]]} for members in shared]
    return {"num_classes": sum(map(len, shared)), "num_prompts": len(shared), "examples": examples[:_MAX_EXAMPLES]}


def distinct_rows(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(the distinct rows [K, D] in the order of their first appearance, the number of each row among them [C])."""
    number: dict[bytes, int] = {}
    of_row = np.array([number.setdefault(row.tobytes(), len(number)) for row in rows], dtype=np.int64)
    firsts = np.flatnonzero(np.diff(np.maximum.accumulate(of_row), prepend=-1))
    return rows[firsts], of_row


@dataclass(frozen=True)
class RankTaxa:
    """The taxa of one rank: `of_species` [C] numbers them in order, `starts` [T] is each taxon's first species, `is_named` [T] False where
    the lineage is not filled at the rank."""

    of_species: NDArray[np.int64]
    starts: NDArray[np.int64]
    names: tuple[str, ...]
    is_named: NDArray[np.bool_]


def predict(
    images: NDArray[np.float32],
    captions: NDArray[np.float32],
    logit_scale: float,
    labels: NDArray[np.int64],
    classes: Sequence[SpeciesClass],
    ranks: Sequence[str],
    caption_type: str,
) -> list[Predictions]:
    """Predictions of `images` [N, D] against `captions` [C, D], both of unit length, at each of `ranks`.

    Images whose lineage is not filled at a rank are excluded there, and a rank that excludes all images is left out. Guessing draws a
    species at random and takes its taxon, so a kingdom with most of the species has a high chance level.
    """
    taxa = {rank: taxa_at(classes, rank) for rank in ranks}
    ranked: dict[str, list[Ranked]] = {rank: [] for rank in ranks}
    for part, probabilities in _probabilities(images, captions, logit_scale):
        for rank in ranks:
            summed = np.add.reduceat(probabilities, taxa[rank].starts, axis=1)
            ranked[rank].append(rank_answers(summed, taxa[rank].of_species[labels[part]]))
    found = (_predictions(ranked[rank], taxa[rank], labels, rank, caption_type) for rank in ranks)
    return [one for one in found if one.asked.any()]


def taxa_at(classes: Sequence[SpeciesClass], rank: str) -> RankTaxa:
    """The taxa of sorted `classes` at `rank`: species share one when their lineages agree down to it."""
    depth = RANKS.index(rank) + 1
    paths = [c.lineage[:depth] for c in classes]
    changes = [0] + [int(now != before) for before, now in pairwise(paths)]
    of_species = np.cumsum(np.array(changes, dtype=np.int64))
    starts = np.flatnonzero(np.diff(of_species, prepend=-1))
    names = tuple(paths[start][-1] for start in starts)
    return RankTaxa(of_species, starts, names, np.array([bool(name) for name in names]))


def _predictions(parts: Sequence[Ranked], taxa: RankTaxa, labels: NDArray[np.int64], rank: str, caption_type: str) -> Predictions:
    truth = taxa.of_species[labels]
    return Predictions(
        task="zero_shot",
        parameters={"caption_type": caption_type, "rank": rank},
        names=taxa.names,
        truth=truth,
        position=np.concatenate([part.position for part in parts]),
        top=np.concatenate([part.top for part in parts]),
        asked=taxa.is_named[truth],
        guess=np.bincount(taxa.of_species) / len(taxa.of_species),
        num_classes=int(taxa.is_named.sum()),
        num_tied=np.concatenate([part.num_tied for part in parts]),
        top_probabilities=np.concatenate([part.top_scores for part in parts]),
        truth_probability=np.concatenate([part.truth_score for part in parts]),
    )


def _probabilities(
    images: NDArray[np.float32],
    captions: NDArray[np.float32],
    logit_scale: float,
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """(images of a chunk, probabilities [chunk, C]). Equal captions get exactly equal ones: each distinct caption is multiplied once."""
    distinct, of_class = distinct_rows(captions)
    size = max(1, _CHUNK_NUMBERS // len(captions))
    for first in range(0, len(images), size):
        part = slice(first, first + size)
        logits = (images[part] @ distinct.T).astype(np.float64)[:, of_class] * logit_scale
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        yield part, weights / weights.sum(axis=1, keepdims=True)
