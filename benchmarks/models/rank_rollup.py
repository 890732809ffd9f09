"""Probabilities of 350,000 species summed to all seven ranks, with the five best taxa of each, for 10,000 images.

Peer: the method of pybioclip 2: for each image and rank, a dictionary from the taxon's name to the sum of its species' probabilities, and
the largest of its values. It runs here on a few images, on plain Python floats (pybioclip adds elements of a tensor, which is slower), and
its time is multiplied up. Both start from cosines in float32; the product that makes the cosines is printed separately. The tree of
taxa is synthetic. Ours uses two threads, whose CPU seconds are added up.
"""

from __future__ import annotations

import heapq
import time
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.measuring import Comparison, FactTable, Report
from benchmarks.models.synthetic_taxonomy import make_classes, photograph, unit_rows
from benchmarks.registry import Context
from bioclip.evaluation.benchmark import SpeciesClass
from bioclip.evaluation.rank_rollup import RankRollup, taxa_at
from bioclip.records import RANKS

SCALE, WIDTH, NOISE = 100.0, 512, 2.0
_PART = 100
_NUM_BEST = 5


def run(context: Context) -> Report:
    """Both sides, and their greatest difference on the images of the peer."""
    num_images, num_species, num_peer = (200, 20_000, 2) if context.quick else (10_000, 350_000, 3)
    classes = make_classes(num_species, 1)
    heads = unit_rows(num_species, WIDTH, 2)
    labels = np.random.default_rng(3).integers(num_species, size=num_images)
    images = photograph(heads, labels, NOISE, 4)
    rollup = RankRollup({rank: taxa_at(classes, rank) for rank in RANKS}, SCALE, num_threads=2)
    product_s = ours_s = 0.0
    for first in range(0, num_images, _PART):
        started = time.process_time()
        similarities = images[first : first + _PART] @ heads.T
        product_s += time.process_time() - started
        started = time.process_time()
        rollup.add(similarities, labels[first : first + _PART])
        ours_s += time.process_time() - started
    started = time.process_time()
    best = [loop_over_classes(row, classes) for row in images[:num_peer] @ heads.T]
    peer_s = (time.process_time() - started) * num_images / num_peer
    case = f"{num_images:,} images, {num_species:,} species, 7 ranks"
    peer = f"dictionary per image and rank, {num_peer} images multiplied up"
    taxa = ", ".join(f"{len(rollup.taxa[rank].starts):,} {rank}" for rank in RANKS)
    facts = (("taxa", taxa), ("product of images and heads, CPU s", product_s), *_agreement(rollup, best))
    table = FactTable("Input and agreement", ("figure", "value"), facts)
    return Report((Comparison(case, peer, (ours_s,), (peer_s,), num_images, "images/CPU-s"),), (table,))


def loop_over_classes(similarities: npt.NDArray[np.float32], classes: Sequence[SpeciesClass]) -> dict[str, list[tuple[str, float]]]:
    """The five best (taxon, probability) of each rank for one image."""
    weights = np.exp(SCALE * (similarities.astype(np.float64) - similarities.max()))
    probabilities = (weights / weights.sum()).tolist()
    best = {}
    for depth, rank in enumerate(RANKS, start=1):
        sums: defaultdict[str, float] = defaultdict(float)
        for one, probability in zip(classes, probabilities, strict=True):
            sums[" ".join(one.lineage[:depth])] += probability
        best[rank] = [(name, sums[name]) for name in heapq.nlargest(_NUM_BEST, sums, key=sums.__getitem__)]
    return best


def _agreement(rollup: RankRollup, best: Sequence[dict[str, list[tuple[str, float]]]]) -> tuple[tuple[str, object], ...]:
    equal = asked = 0
    apart = 0.0
    for rank in RANKS:
        names, ranked = rollup.taxa[rank].names, rollup.ranked(rank)
        for number, of_rank in enumerate(best):
            ours = [names[taxon] for taxon in ranked.top[number, : len(of_rank[rank])].tolist()]
            equal += ours == [name.rpartition(" ")[2] for name, _ in of_rank[rank]]
            asked += 1
            theirs = np.array([value for _, value in of_rank[rank]])
            apart = max(apart, float(np.abs(ranked.top_scores[number, : len(theirs)] / theirs - 1).max()))
    return (("lists of the best taxa equal to the loop's", f"{equal} of {asked}"), ("greatest relative difference of a probability", apart))
