from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from bioclip.evaluation.tasks import retrieval
from tests.evaluation.planted import CLASSES, nested_vectors, planted_input, unit

NUM = len(CLASSES)


def planted(noise: float = 0.5, num: int = 6, with_texts: bool = True) -> object:
    random = np.random.default_rng(2)
    heads, labels = nested_vectors(random), np.arange(NUM).repeat(num)
    return planted_input(unit(heads[labels] + noise * random.normal(size=(len(labels), 24)) / 5), labels, heads if with_texts else None)


def by_metric(result: object) -> dict[tuple[str, str], tuple[float, float]]:
    found = {}
    for m in result.measurements:
        value = float(m.statistic(np.ones((1, len(m.statistic.takes_part))), None)[0])
        found[str(m.parameters["direction"]), m.metric] = (value, m.chance)
    return found


def test_average_precision_equals_scikit_learns() -> None:
    given = planted()
    found = by_metric(retrieval.run(given))
    similarities = given.images @ given.images.T
    expected = [
        average_precision_score(np.delete(given.labels == label, query), np.delete(similarities[query], query))
        for query, label in enumerate(given.labels)
    ]
    assert found["image_to_image", "map"][0] == pytest.approx(np.mean(expected), abs=1e-6)
    heads = given.texts.encode_texts(given.prompts("taxon"))
    of_texts = [average_precision_score(given.labels == label, given.images @ heads[label]) for label in range(NUM)]
    assert found["text_to_image", "map"][0] == pytest.approx(np.mean(of_texts), abs=1e-6)


def test_recall_is_a_right_image_among_the_first() -> None:
    given = planted()
    found = by_metric(retrieval.run(given))
    similarities = given.images @ given.images.T - 9 * np.eye(len(given.labels))
    order = np.argsort(-similarities, axis=1)
    for top in (1, 5):
        expected = (given.labels[order[:, :top]] == given.labels[:, None]).any(axis=1).mean()
        assert found["image_to_image", f"recall_at_{top}"][0] == pytest.approx(expected)


def test_equal_images_give_exactly_chance() -> None:
    labels = np.arange(NUM).repeat([2, 3] * (NUM // 2))
    found = by_metric(retrieval.run(planted_input(np.eye(24)[[0] * len(labels)], labels, np.eye(24)[[0] * NUM])))
    for (direction, metric), (value, chance) in found.items():
        if metric != "map":
            assert value == pytest.approx(chance, abs=1e-9), (direction, metric)


def test_the_chance_of_average_precision_is_that_of_random_orders() -> None:
    random = np.random.default_rng(6)
    labels = np.arange(NUM).repeat(4)
    found = [
        by_metric(retrieval.run(planted_input(random.normal(size=(64, 24)), labels, random.normal(size=(NUM, 24))))) for _ in range(30)
    ]
    for key in found[0]:
        values = [one[key][0] for one in found]
        assert abs(np.mean(values) - found[0][key][1]) < 4 * np.std(values) / np.sqrt(30) + 0.01, key


def test_a_species_with_one_image_is_no_query() -> None:
    labels = np.array([0, 0, 1, 2, 2])
    result = retrieval.run(planted_input(np.eye(5), labels, None))
    assert result.notes == {"image_queries": 4}
    assert {str(m.parameters["direction"]) for m in result.measurements} == {"image_to_image"}
