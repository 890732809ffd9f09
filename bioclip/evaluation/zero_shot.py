"""Zero-shot classification: the species whose caption is nearest, and every higher rank by adding up its species.

Species probabilities are the softmax of the cosine similarities times the model's own logit scale; a taxon's probability is the sum
over its species in the label set. N images, C species, D embedding width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.statistics import Measurement, num_better
from bioclip.records import RANKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioclip.evaluation.benchmarks.labels import SpeciesClass

TOP = 5
_CHUNK_NUMBERS = 8_000_000


def taxa_at(classes: Sequence[SpeciesClass], rank: str) -> NDArray[np.int64]:
    """[C] number of each species' taxon at `rank`: species share one when their lineages agree down to it. Numbers rise by one."""
    depth = RANKS.index(rank) + 1
    paths = [c.lineage[:depth] for c in classes]
    changes = [0] + [int(now != before) for before, now in pairwise(paths)]
    return np.cumsum(np.array(changes, dtype=np.int64))


def measure_zero_shot(
    images: NDArray[np.float32],
    captions: NDArray[np.float32],
    logit_scale: float,
    labels: NDArray[np.int64],
    classes: Sequence[SpeciesClass],
    ranks: Sequence[str],
    caption_type: str,
) -> list[Measurement]:
    """Accuracy of `images` [N, D] against `captions` [C, D], both of unit length.

    Top-1 and macro accuracy at each of `ranks`, and top-5 at the species where there are more than five.

    Images whose lineage is not filled at a rank take no part in it. Chance is that of naming a species at random and reading off its
    taxon, so that a kingdom with most of the species is not counted as skill.
    """
    hits = {rank: np.zeros(len(labels)) for rank in ranks}
    top_hits = np.zeros(len(labels))
    taxa = {rank: taxa_at(classes, rank) for rank in ranks}
    starts = {rank: np.flatnonzero(np.diff(taxa[rank], prepend=-1)) for rank in ranks}
    for part, probabilities in _probabilities(images, captions, logit_scale):
        for rank in ranks:
            summed = np.add.reduceat(probabilities, starts[rank], axis=1)
            hits[rank][part] = summed.argmax(axis=1) == taxa[rank][labels[part]]
        top_hits[part] = num_better(probabilities, labels[part]) < TOP
    results = []
    for rank in ranks:
        results += _at_rank(hits[rank], taxa[rank], labels, classes, rank, caption_type)
    if "species" in ranks and len(classes) > TOP:
        ones = np.ones(len(labels))
        results.append(Measurement("zero_shot", caption_type, "species", 0, "top5", top_hits, ones, TOP / len(classes), len(classes)))
    return results


def _at_rank(
    hits: NDArray[np.float64],
    taxa: NDArray[np.int64],
    labels: NDArray[np.int64],
    classes: Sequence[SpeciesClass],
    rank: str,
    caption_type: str,
) -> list[Measurement]:
    filled = np.array([bool(c.lineage[RANKS.index(rank)]) for c in classes])
    trials = filled[labels].astype(np.float64)
    if not trials.any():
        return []
    num_taxa = len(np.unique(taxa[filled]))
    share = np.bincount(taxa)[taxa] / len(classes)
    asked = labels[trials > 0]
    _, first = np.unique(taxa[asked], return_index=True)
    macro_chance = float(share[asked[first]].mean())
    hits = hits * trials
    return [
        Measurement("zero_shot", caption_type, rank, 0, "top1", hits, trials, float(share[asked].mean()), num_taxa),
        Measurement("zero_shot", caption_type, rank, 0, "macro_top1", hits, trials, macro_chance, num_taxa, taxa[labels]),
    ]


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
