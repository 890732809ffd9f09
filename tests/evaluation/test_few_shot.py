from __future__ import annotations

import numpy as np
import pytest

from bioclip.evaluation.tasks.few_shot import draw_support, measure_few_shot


def _features(num: int, seed: int = 2) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(num, 4)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 3])
KEYS = [f"image-{number}" for number in range(len(LABELS))]


@pytest.mark.parametrize("shots", [1, 2])
def test_simpleshot_equals_a_plain_reference(shots: int) -> None:
    images, eligible = _features(len(LABELS)), np.array([0, 1, 2])
    hits, trials = np.zeros(len(LABELS)), np.zeros(len(LABELS))
    for fold in range(3):
        support = draw_support(LABELS, KEYS, eligible, shots, seed=9, fold=fold)
        mean = np.mean([images[n] for n in support.ravel()], axis=0, dtype=np.float64)
        centred = [(image - mean) / np.linalg.norm(image - mean) for image in images.astype(np.float64)]
        centroids = [np.mean([centred[n] for n in row], axis=0) for row in support]
        for query in set(np.flatnonzero(LABELS < 3).tolist()) - set(support.ravel().tolist()):
            nearest = min(range(3), key=lambda c: np.linalg.norm(centred[query] - centroids[c]))
            hits[query] += nearest == LABELS[query]
            trials[query] += 1
    found = measure_few_shot(images, LABELS, KEYS, shots, num_folds=3, seed=9)
    top1 = found.measurements[0]
    assert np.array_equal(top1.statistic.hits, hits)
    assert np.array_equal(top1.statistic.trials, trials)
    assert top1.chance == pytest.approx(1 / 3)


def test_classes_without_a_query_left_are_left_out_and_counted() -> None:
    found = measure_few_shot(_features(12), LABELS, KEYS, 3, num_folds=2, seed=9)
    assert (found.num_classes, found.left_out_classes, found.left_out_images) == (2, 2, 4)
    assert found.measurements[0].statistic.trials[[4, 5, 6, 11]].sum() == 0
    none = measure_few_shot(_features(12), LABELS, KEYS, 5, num_folds=2, seed=9)
    assert (none.measurements, none.left_out_classes, none.left_out_images) == ([], 4, 12)


def test_the_support_does_not_depend_on_the_order_of_the_images() -> None:
    order = np.random.default_rng(0).permutation(12)
    images = _features(12)
    straight = measure_few_shot(images, LABELS, KEYS, 1, num_folds=4, seed=3).measurements[0]
    shuffled = measure_few_shot(images[order], LABELS[order], [KEYS[n] for n in order], 1, num_folds=4, seed=3).measurements[0]
    assert np.array_equal(straight.statistic.trials[order], shuffled.statistic.trials)
    assert np.array_equal(straight.statistic.hits[order], shuffled.statistic.hits)


def test_folds_and_seeds_draw_other_supports() -> None:
    drawn = {draw_support(LABELS, KEYS, np.array([0, 1, 2]), 1, seed, fold).tobytes() for seed in (1, 2) for fold in range(4)}
    assert len(drawn) > 4


def test_features_that_are_all_the_same_are_no_better_than_chance() -> None:
    labels, keys = np.repeat(np.arange(6), 4), [str(number) for number in range(24)]
    found = measure_few_shot(np.ones((24, 4), np.float32) / 2, labels, keys, 1, num_folds=5, seed=1)
    by_metric = {m.metric: m.statistic.hits.sum() / m.statistic.trials.sum() for m in found.measurements}
    assert by_metric["top1"] == pytest.approx(1 / 6)
    assert by_metric["top5"] == pytest.approx(5 / 6)
