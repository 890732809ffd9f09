from __future__ import annotations

import numpy as np
import pytest

from bioclip.evaluation.class_probabilities import softmax
from bioclip.evaluation.tasks import confidence
from tests.evaluation.planted import CLASSES, nested_vectors, planted_input

NUM = len(CLASSES)


def drawn(num: int, temperature: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, labels drawn from the model's probabilities at `temperature`, and captions."""
    random = np.random.default_rng(seed)
    heads, images = nested_vectors(random), random.normal(size=(num, 24))
    logits = 10 * (images / np.linalg.norm(images, axis=1, keepdims=True)) @ heads.T
    found = softmax(logits, temperature)
    labels = (found.cumsum(axis=1) > random.random((num, 1))).argmax(axis=1)
    return images, labels, heads


def by_metric(result: object) -> dict[tuple, float]:
    return {
        (m.metric, m.parameters["temperature"], m.parameters.get("coverage")): float(
            m.statistic(np.ones((1, len(m.statistic.takes_part))), None)[0]
        )
        for m in result.measurements
    }


def test_the_temperature_that_made_the_labels_is_found() -> None:
    images, labels, heads = drawn(4000, 2.5)
    result = confidence.run(planted_input(images, labels, heads))
    assert result.notes["temperatures"] == pytest.approx([2.5, 2.5], rel=0.15)
    found = by_metric(result)
    assert found["ece", "fitted", None] < 0.03 < found["ece", "model", None]
    assert found["log_loss", "fitted", None] < found["log_loss", "model", None]
    assert found["brier", "fitted", None] < found["brier", "model", None]


def test_no_image_decides_the_temperature_that_it_is_scored_with() -> None:
    images, labels, heads = drawn(200, 1.0)
    given = planted_input(images, labels, heads)
    is_second = confidence.cut_in_halves(given)
    wrong = np.where(is_second, (labels + 1) % NUM, labels)
    plain, changed = (confidence.run(planted_input(images, one, heads)).notes["temperatures"] for one in (labels, wrong))
    assert changed[1] == plain[1], "the first half alone fits the temperature of the second"
    assert changed[0] != plain[0]


def test_halves_keep_species_together_where_species_are_the_unit() -> None:
    images, labels, heads = drawn(400, 1.0)
    is_second = confidence.cut_in_halves(planted_input(images, labels, heads, interval_unit="species"))
    assert all(len(set(is_second[labels == label])) == 1 for label in np.unique(labels))
    assert 0 < is_second.sum() < 400


def test_values_equal_plain_definitions() -> None:
    images, labels, heads = drawn(150, 1.5)
    found = by_metric(confidence.run(planted_input(images, labels, heads)))
    logits = 10 * (images / np.linalg.norm(images, axis=1, keepdims=True)) @ heads.T
    p = softmax(logits)
    truth = np.eye(NUM)[labels]
    assert found["log_loss", "model", None] == pytest.approx(-np.log(p[np.arange(150), labels]).mean(), rel=1e-5)
    assert found["brier", "model", None] == pytest.approx(((p - truth) ** 2).sum(axis=1).mean(), rel=1e-5)
    order = np.argsort(-p.max(axis=1))
    hits = (p.argmax(axis=1) == labels)[order]
    assert found["accuracy_at_coverage", "model", 0.5] == pytest.approx(hits[:75].mean())


def test_one_half_without_images_leaves_the_models_own_scale() -> None:
    images, labels, heads = drawn(1, 1.0)
    result = confidence.run(planted_input(images, labels, heads))
    assert {m.parameters["temperature"] for m in result.measurements} == {"model"}
