from __future__ import annotations

import numpy as np
import pytest

from bioclip.evaluation.tasks import open_set
from tests.evaluation.planted import CLASSES, nested_vectors, planted_input, unit

NUM = len(CLASSES)


def planted(noise: float, num: int = 20, with_texts: bool = True, seed: int = 2) -> object:
    random = np.random.default_rng(seed)
    heads, labels = nested_vectors(random), np.arange(NUM).repeat(num)
    images = unit(heads[labels] + noise * random.normal(size=(len(labels), 24)))
    return planted_input(images, labels, heads if with_texts else None, scale=30.0)


def by_score(result: object) -> dict[tuple[str, str], float]:
    return {
        (m.parameters["score"], m.metric): float(m.statistic(np.ones((1, len(m.statistic.takes_part))), None)[0])
        for m in result.measurements
    }


def test_unknown_genera_score_lower_by_every_score() -> None:
    found = by_score(open_set.run(planted(0.05)))
    assert {score for score, _ in found} == {"max_probability", "max_logit", "energy", "mahalanobis", "vim", "nearest"}
    scores = {score: value for (score, metric), value in found.items() if metric == "auroc"}
    assert scores.pop("max_probability") > 0.55, "siblings share the probability of a known species"
    assert all(value > 0.8 for value in scores.values()), scores
    assert found["max_logit", "fpr95"] < 0.2


def test_features_without_information_give_chance() -> None:
    random = np.random.default_rng(3)
    labels = np.arange(NUM).repeat(40)
    found = by_score(open_set.run(planted_input(random.normal(size=(len(labels), 24)), labels, nested_vectors(random))))
    assert all(abs(value - 0.5) < 0.1 for (_, metric), value in found.items() if metric == "auroc"), found


def test_every_genus_is_unknown_once_and_no_fitted_image_is_asked() -> None:
    given = planted(0.1)
    rounds = open_set.plan_rounds(given)
    assert len(rounds) == open_set.NUM_ROUNDS
    unknown = [set(given.labels[~one.known].tolist()) for one in rounds]
    assert sorted(label for labels in unknown for label in labels) == list(range(NUM))
    for one in rounds:
        assert not (one.fitted & one.asked).any()
        assert not (one.fitted & ~one.known).any()
        assert one.asked[~one.known].all()
        assert set(one.answers.tolist()).isdisjoint(given.labels[~one.known].tolist())


def test_an_image_model_has_the_scores_of_features() -> None:
    assert {score for score, _ in by_score(open_set.run(planted(0.05, with_texts=False)))} == {"mahalanobis", "nearest"}


def test_the_mahalanobis_score_is_that_of_a_plain_loop() -> None:
    random = np.random.default_rng(4)
    fitted, labels = random.normal(size=(60, 8)), random.integers(3, size=60)
    images = random.normal(size=(10, 8)).astype(np.float32)
    means = [fitted[labels == number].mean(axis=0) for number in range(3)]
    residuals = np.stack([row - means[label] for row, label in zip(fitted, labels, strict=True)])
    covariance = residuals.T @ residuals / 60
    inverse = np.linalg.inv(covariance + 0.1 * np.trace(covariance) / 8 * np.eye(8))
    expected = [max(-(row - mean) @ inverse @ (row - mean) for mean in means) for row in images.astype(np.float64)]
    assert open_set.mahalanobis(images, fitted, labels) == pytest.approx(expected, rel=1e-9)


def test_one_genus_is_skipped_with_a_note() -> None:
    labels = np.zeros(10, dtype=np.int64)
    assert "fewer than two genera" in open_set.run(planted_input(np.eye(10), labels, None)).notes["skipped"]
