"""Zero-shot classification: the species whose caption is nearest, and every higher rank by summing over its species.

Species probabilities are the softmax of the cosine similarities times the model's own logit scale; a taxon's probability is the sum
over its species in the label set. N images, C species, T taxa of a rank, D embedding width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.metrics import find_metric
from bioclip.evaluation.predictions import Predictions, Ranked, rank_answers
from bioclip.evaluation.tasks.task import TaskInput, TaskResult
from bioclip.records import RANKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioclip.evaluation.benchmark import SpeciesClass

_CHUNK_NUMBERS = 8_000_000


def run(given: TaskInput) -> TaskResult:
    """Every caption type at every rank, by every metric of `settings.metrics`. A model without texts gives a note instead."""
    if given.texts.no_texts:
        return TaskResult([], notes={"skipped": given.texts.no_texts})
    metrics = [find_metric(name) for name in given.settings.metrics]
    predictions: list[Predictions] = []
    for caption_type in given.settings.caption_types:
        heads = given.heads(caption_type)
        ranks = given.settings.ranks
        predictions += predict(given.images, heads, given.texts.logit_scale, given.labels, given.benchmark.classes, ranks, caption_type)
    found = [metric(one) for one in predictions for metric in metrics]
    return TaskResult([measurement for measurement in found if measurement is not None], predictions)


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
        top_probabilities=np.concatenate([part.top_scores for part in parts]),
        truth_probability=np.concatenate([part.truth_score for part in parts]),
    )


def _probabilities(
    images: NDArray[np.float32],
    captions: NDArray[np.float32],
    logit_scale: float,
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    size = max(1, _CHUNK_NUMBERS // len(captions))
    for first in range(0, len(images), size):
        part = slice(first, first + size)
        logits = (images[part] @ captions.T).astype(np.float64) * logit_scale
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        yield part, weights / weights.sum(axis=1, keepdims=True)
