"""A model that knows nothing scores at chance: chance lies within the interval about as often as the interval promises."""

from __future__ import annotations

import numpy as np
import pytest

from bioclip.evaluation.metrics.accuracy import measure_macro_top1, measure_top1, measure_top5
from bioclip.evaluation.predictions import Predictions, rank_answers
from bioclip.evaluation.statistics import Measurement, Score, Units, score
from bioclip.evaluation.tasks.few_shot import Problem, measure_few_shot

NUM_CLASSES, NUM_SEEDS = 12, 100
LABELS = np.repeat(np.arange(NUM_CLASSES), np.random.default_rng(0).integers(4, 24, size=NUM_CLASSES))


def _predictions(scores: np.ndarray, labels: np.ndarray) -> Predictions:
    ranked = rank_answers(scores, labels)
    return Predictions(
        task="zero_shot",
        parameters={"caption_type": "sci", "rank": "species"},
        names=[f"species {one}" for one in range(NUM_CLASSES)],
        truth=labels,
        position=ranked.position,
        top=ranked.top,
        asked=np.ones(len(labels), dtype=bool),
        guess=np.full(NUM_CLASSES, 1 / NUM_CLASSES),
        num_classes=NUM_CLASSES,
        num_tied=ranked.num_tied,
    )


def _contains_chance(measurement: Measurement, found: Score) -> bool:
    assert measurement.chance is not None
    return found.ci_low <= measurement.chance <= found.ci_high


@pytest.mark.parametrize("kind", ["image", "species"])
def test_random_answers_have_chance_in_their_interval(kind: str) -> None:
    covered = np.zeros(3)
    for seed in range(NUM_SEEDS):
        scores = np.random.default_rng(seed).normal(size=(len(LABELS), NUM_CLASSES))
        asked = [measure(_predictions(scores, LABELS)) for measure in (measure_top1, measure_macro_top1, measure_top5)]
        measured = [one for one in asked if one is not None]
        units = Units("species", LABELS) if kind == "species" else Units.images(len(LABELS))
        covered += [_contains_chance(*pair) for pair in zip(measured, score(measured, 2, seed, units), strict=True)]
    assert (covered >= 0.9 * NUM_SEEDS).all()
    assert covered.sum() < 3 * NUM_SEEDS, "an interval that always contains chance says nothing"


def test_permuted_labels_have_chance_in_their_interval() -> None:
    labels = np.repeat(np.arange(NUM_CLASSES), 14)  # as many of each: guessing is then as good as any other answer without the image
    scores = np.random.default_rng(3).normal(size=(len(labels), NUM_CLASSES)) + 3 * np.eye(NUM_CLASSES)[labels]
    good = measure_top1(_predictions(scores, labels))
    assert not _contains_chance(good, score([good], 2, 1)[0])
    covered = 0
    for seed in range(NUM_SEEDS):
        permuted = measure_top1(_predictions(scores, np.random.default_rng(seed).permutation(labels)))
        covered += _contains_chance(permuted, score([permuted], 2, seed)[0])
    assert covered >= 0.9 * NUM_SEEDS


def test_a_constant_model_scores_exactly_at_chance() -> None:
    for measure in (measure_top1, measure_macro_top1, measure_top5):
        measurement = measure(_predictions(np.ones((len(LABELS), NUM_CLASSES)), LABELS))
        assert measurement is not None
        for units in (Units.images(len(LABELS)), Units("species", LABELS)):
            found = score([measurement], 2, 1, units)[0]
            assert found.value == pytest.approx(measurement.chance)
            assert found.ci_low < found.value < found.ci_high


@pytest.mark.parametrize("kind", ["image", "species"])
def test_few_shot_with_random_features_has_chance_in_its_interval(kind: str) -> None:
    keys, names = ([str(number) for number in range(size)] for size in (len(LABELS), NUM_CLASSES))
    units = Units("species", LABELS) if kind == "species" else Units.images(len(LABELS))
    covered = np.zeros(3)
    for seed in range(40):
        features = np.random.default_rng(seed).normal(size=(len(LABELS), 8)).astype(np.float32)
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        found = measure_few_shot(Problem(features, LABELS, keys, names), 1, 3, seed).measurements
        covered += [_contains_chance(*pair) for pair in zip(found, score(found, 2, seed, units), strict=True)]
    assert (covered >= 35).all()
