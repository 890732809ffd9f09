"""The roll-up to ranks against plain sums in float64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from bioclip.evaluation.benchmark import SpeciesClass
from bioclip.evaluation.predictions import Ranked, rank_answers
from bioclip.evaluation.rank_rollup import RankRollup, sum_segments, taxa_at
from bioclip.records import RANKS


def lineages(num_species: int, seed: int) -> list[SpeciesClass]:
    """A random tree: each level divides the one above it; some genera have one species."""
    random = np.random.default_rng(seed)
    paths = [("",) * 0]
    for depth, width in enumerate((3, 5, 12, 40, 120, max(2, num_species // 4), num_species)):
        parents = np.sort(random.integers(len(paths), size=width))
        paths = [(*paths[parent], f"{RANKS[depth]}{number}") for number, parent in enumerate(parents.tolist())]
    return sorted(SpeciesClass(path, "") for path in paths)


def loop(similarities: np.ndarray, scale: float, classes: Sequence[SpeciesClass], rank: str) -> tuple[list[tuple[str, ...]], np.ndarray]:
    """(taxa in order, probabilities [N, T]) by adding every class to the entry of its taxon."""
    depth = RANKS.index(rank) + 1
    exponents = similarities.astype(np.float64) * scale
    weights = np.exp(exponents - exponents.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    taxa = sorted({c.lineage[:depth] for c in classes})
    place = {path: number for number, path in enumerate(taxa)}
    sums = np.zeros((len(similarities), len(taxa)))
    for number, one in enumerate(classes):
        sums[:, place[one.lineage[:depth]]] += weights[:, number]
    return taxa, sums


def rolled(similarities: np.ndarray, labels: np.ndarray, classes: Sequence[SpeciesClass], scale: float) -> dict[str, Ranked]:
    rollup = RankRollup({rank: taxa_at(classes, rank) for rank in RANKS}, scale, num_threads=2)
    for first in range(0, len(labels), 7):
        rollup.add(similarities[first : first + 7], labels[first : first + 7])
    return {rank: rollup.ranked(rank) for rank in RANKS}


@pytest.mark.parametrize(("num_species", "spread"), [(30, 0.3), (900, 0.3), (6_000, 0.3), (6_000, 1.9)])
def test_every_rank_equals_the_loop(num_species: int, spread: float) -> None:
    """With a spread of 1.9 some weights are below the range of float32."""
    classes, random = lineages(num_species, 1), np.random.default_rng(2)
    similarities = random.uniform(-spread / 2, spread / 2, size=(25, num_species)).astype(np.float32)
    labels = random.integers(num_species, size=25)
    found = rolled(similarities, labels, classes, 100.0)
    for rank in RANKS:
        taxa, sums = loop(similarities, 100.0, classes, rank)
        truth = np.array([taxa.index(classes[label].lineage[: RANKS.index(rank) + 1]) for label in labels])
        expected = rank_answers(sums, truth)
        assert np.array_equal(found[rank].position, expected.position), rank
        assert np.array_equal(found[rank].num_tied, expected.num_tied), rank
        assert np.array_equal(found[rank].top, expected.top), rank
        assert found[rank].top_scores == pytest.approx(expected.top_scores, rel=1e-5)
        assert found[rank].truth_score == pytest.approx(expected.truth_score, rel=1e-5)


def test_ties_are_those_of_equal_similarities_and_no_others() -> None:
    """Two neighbouring float32 similarities have one float32 weight, but are no tie at any rank."""
    classes = [SpeciesClass((f"k{n}", "p", "c", "o", "f", f"g{n}", f"s{n}"), "") for n in range(4)]
    classes.append(SpeciesClass(("k3", "p", "c", "o", "f", "g3", "s9"), ""))
    first = np.float32(0.25)
    similarities = np.array([[first, np.nextafter(first, np.float32(1)), first, 1.0, 0.9]], dtype=np.float32)
    found = rolled(similarities, np.array([0]), classes, 100.0)
    for rank in RANKS:
        assert found[rank].num_tied.tolist() == [2], rank
        assert found[rank].position.tolist() == [3 if rank == "species" else 2], rank


def test_the_best_of_a_wide_row_are_those_of_a_full_sort() -> None:
    random = np.random.default_rng(4)
    for scores in (
        random.normal(size=(6, 5_003)),
        random.integers(0, 6, size=(6, 5_003)).astype(np.float64),
        np.zeros((2, 5_003)),
        random.normal(size=(6, 5_003)).astype(np.float32),
    ):
        truth = random.integers(5_003, size=len(scores))
        ranked = rank_answers(scores, truth)
        true_score = scores[np.arange(len(scores)), truth][:, None]
        assert np.array_equal(ranked.top, np.argsort(-scores, axis=1, kind="stable")[:, :5])
        assert np.array_equal(ranked.position, (scores > true_score).sum(axis=1))
        assert np.array_equal(ranked.num_tied, (scores == true_score).sum(axis=1))


def test_segments_need_no_order() -> None:
    random = np.random.default_rng(5)
    weights, number = random.random((3, 50)), random.integers(6, size=50)
    plain = np.array([[row[number == taxon].sum() for taxon in range(6)] for row in weights])
    assert sum_segments(weights, number, 6) == pytest.approx(plain)
