from __future__ import annotations

import numpy as np
import pytest

from bioclip.evaluation.class_probabilities import softmax
from bioclip.evaluation.statistics import Measurement
from bioclip.evaluation.tasks import hierarchy
from bioclip.evaluation.taxonomic_distance import taxon_tree
from tests.evaluation.planted import CLASSES, nested_vectors, planted_input, unit

TREE = taxon_tree(CLASSES)
NUM = len(CLASSES)


def plain_distance(one: int, other: int) -> int:
    same = [a == b for a, b in zip(CLASSES[one].lineage, CLASSES[other].lineage, strict=True)]
    return 7 - sum(same)


def probabilities(random: np.random.Generator, num: int, sharpness: float = 2.0) -> np.ndarray:
    return softmax(sharpness * random.normal(size=(num, NUM)))


def measured(given_labels: np.ndarray, images: np.ndarray, heads: np.ndarray, scale: float = 10.0) -> dict[tuple, Measurement]:
    found = hierarchy.run(planted_input(images, given_labels, heads, scale=scale)).measurements
    return {(m.metric, m.parameters.get("rule", m.parameters.get("floor"))): m for m in found}


def value(measurement: Measurement) -> float:
    return float(measurement.statistic(np.ones((1, len(measurement.statistic.takes_part))), None)[0])


def test_the_distance_is_the_number_of_ranks_below_the_common_ancestor() -> None:
    every = np.arange(NUM)
    expected = [[plain_distance(one, other) for other in range(NUM)] for one in range(NUM)]
    assert TREE.distances(every[:, None], every[None, :]).tolist() == expected
    assert TREE.mean_distances(every) == pytest.approx(np.mean(expected, axis=1))


def test_the_least_expected_distance_is_that_of_a_loop_over_all_pairs() -> None:
    random = np.random.default_rng(1)
    found, truth = probabilities(random, 200), random.integers(NUM, size=200)
    costs = np.array([[plain_distance(one, other) for other in range(NUM)] for one in range(NUM)])
    answers = (found @ costs).argmin(axis=1)
    values = hierarchy.measure_part(found, truth, TREE)
    assert values["distance least_expected_distance"] == pytest.approx([costs[a, t] for a, t in zip(answers, truth, strict=True)])
    assert (answers != found.argmax(axis=1)).any()


def test_the_top_down_rule_follows_the_most_probable_child() -> None:
    random = np.random.default_rng(2)
    found, truth = probabilities(random, 200), random.integers(NUM, size=200)
    answers = []
    for row in found:
        names = {one.lineage: p for one, p in zip(CLASSES, row, strict=True)}
        path: tuple[str, ...] = ()
        for depth in range(1, 8):
            children = {lineage[:depth] for lineage in names if lineage[: depth - 1] == path}
            path = max(children, key=lambda child, d=depth: sum(p for lineage, p in names.items() if lineage[:d] == child))
        answers.append([one.lineage for one in CLASSES].index(path))
    values = hierarchy.measure_part(found, truth, TREE)
    assert values["hits top_down"].tolist() == [float(a == t) for a, t in zip(answers, truth, strict=True)]


def test_the_deepest_answer_above_a_floor_equals_a_plain_walk() -> None:
    random = np.random.default_rng(3)
    found, truth = probabilities(random, 300, 4.0), random.integers(NUM, size=300)
    values = hierarchy.measure_part(found, truth, TREE)
    for floor in hierarchy.FLOORS:
        for number, row in enumerate(found):
            depth, right = 0, False
            for rank in range(7):
                summed: dict[str, float] = {}
                for one, p in zip(CLASSES, row, strict=True):
                    summed[one.lineage[rank]] = summed.get(one.lineage[rank], 0.0) + p
                best = max(summed, key=summed.__getitem__)
                if summed[best] >= floor:
                    depth, right = rank + 1, best == CLASSES[truth[number]].lineage[rank]
            assert (values[f"depth {floor}"][number], values[f"right {floor}"][number]) == (depth, right)


def test_a_right_model_has_no_distance_and_answers_species() -> None:
    heads = nested_vectors(np.random.default_rng(4))
    labels = np.arange(NUM).repeat(3)
    found = measured(labels, heads[labels], heads, scale=1000.0)
    assert value(found["top1", "most_probable"]) == 1
    assert value(found["distance_at_1", "most_probable"]) == 0
    assert ("mistake_distance", "most_probable") not in found
    assert value(found["consistency", None]) == value(found["all_ranks", None]) == value(found["precision", 0.95]) == 1
    assert value(found["mean_depth", 0.95]) == 7


def test_equal_scores_give_chance_in_any_order_of_the_classes() -> None:
    labels = np.arange(NUM).repeat(2)
    images = unit(np.random.default_rng(5).normal(size=(len(labels), 24)))
    found = measured(labels, images, np.ones((NUM, 24)))
    for rule in hierarchy.RULES:
        assert value(found["top1", rule]) == pytest.approx(1 / NUM)
        assert value(found["distance_at_1", rule]) == pytest.approx(found["distance_at_1", rule].chance)
        assert value(found["lca_depth", rule]) == pytest.approx(found["lca_depth", rule].chance)


def test_a_model_without_texts_is_skipped_with_a_note() -> None:
    labels = np.arange(NUM)
    assert hierarchy.run(planted_input(np.eye(NUM), labels, None)).notes == {"skipped": "no text tower"}
