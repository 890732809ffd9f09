from __future__ import annotations

import numpy as np
import pytest

from bioclip.evaluation import ranking
from bioclip.evaluation.predictions import Ranked, rank_answers
from bioclip.evaluation.ranking import rank_products


def _equal(found: Ranked, expected: Ranked) -> None:
    for name in ("position", "num_tied", "top"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name
    for name in ("top_scores", "truth_score"):
        assert np.allclose(getattr(found, name), getattr(expected, name), rtol=1e-12, atol=1e-14), name


def _random(num_queries: int, num_classes: int, width: int = 32, seed: int = 3) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(seed)
    queries, weights = random.normal(size=(num_queries, width)), random.normal(size=(num_classes, width))
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    return queries, weights, random.normal(size=num_classes) / 10, random.integers(num_classes, size=num_queries)


@pytest.mark.parametrize(("num_queries", "num_classes"), [(7, 3), (1030, 5000), (40, 20_000)])
def test_blocks_give_the_ranking_of_all_scores_at_once(num_queries: int, num_classes: int) -> None:
    queries, weights, offsets, truth = _random(num_queries, num_classes)
    _equal(rank_products(queries, weights, offsets, truth), rank_answers(queries @ weights.T + offsets, truth))


def test_scores_that_single_precision_cannot_distinguish_are_ranked_exactly() -> None:
    queries, weights, _, truth = _random(50, 9000)
    weights[100:300] = queries.mean(axis=0) + np.random.default_rng(1).normal(size=(200, 32)) * 1e-8
    truth[:] = np.arange(100, 150)
    assert len(np.unique((queries.astype(np.float32) @ weights[100:300].astype(np.float32).T)[0])) < 100
    _equal(rank_products(queries, weights, np.zeros(9000), truth), rank_answers(queries @ weights.T, truth))


def test_equal_classes_are_ties_wherever_they_are() -> None:
    queries, weights, offsets, truth = _random(300, 9000)
    weights[8990] = weights[5]
    offsets[8990] = offsets[5]
    truth[:100], truth[100:200] = 5, 8990
    found = rank_products(queries, weights, offsets, truth)
    assert (found.num_tied[:200] == 2).all()
    _equal(found, rank_answers(queries @ weights.T + offsets, truth))


def test_classes_that_all_have_one_score_are_all_ties_in_bounded_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "_CHUNK_NUMBERS", 10_000)
    queries, _, _, truth = _random(60, 6000)
    found = rank_products(queries, np.ones((6000, 32)), np.zeros(6000), truth)
    assert (found.num_tied == 6000).all()
    assert (found.position == 0).all()
    assert (found.top == np.arange(5)).all()
