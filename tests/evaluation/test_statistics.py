from __future__ import annotations

import numpy as np
import pytest

from bioclip.evaluation.statistics import Measurement, Share, num_better, score


def _measurement(hits: list[float] | np.ndarray, trials: object = None, classes: object = None) -> Measurement:
    hits = np.asarray(hits, dtype=np.float64)
    asked = np.ones(len(hits)) if trials is None else np.asarray(trials, dtype=np.float64)
    numbers = None if classes is None else np.asarray(classes, dtype=np.int64)
    return Measurement("zero_shot", {"rank": "species"}, "top1", Share(hits, asked, numbers), 0.1, 0.2, 10)


def test_micro_and_macro_accuracy_differ_as_they_must() -> None:
    hits, classes = [1, 1, 1, 0, 0, 1], [4, 4, 4, 4, 2, 7]
    micro, macro = score([_measurement(hits), _measurement(hits, classes=classes)], 200, seed=1)
    assert micro.value == pytest.approx(4 / 6)
    assert macro.value == pytest.approx((3 / 4 + 0 + 1) / 3)
    assert micro.ci_low <= micro.value <= micro.ci_high


def test_images_that_take_no_part_do_not_count() -> None:
    found = score([_measurement([1, 0, 0, 0], trials=[1, 1, 0, 0]), _measurement([2, 0], trials=[2, 3])][:1], 50, seed=1)[0]
    assert found.value == 0.5
    assert score([_measurement([2, 0], trials=[2, 3])], 50, seed=1)[0].value == pytest.approx(2 / 5)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    random, covered = np.random.default_rng(5), 0
    for repeat in range(200):
        found = score([_measurement(random.random(150) < 0.35)], 300, seed=repeat)[0]
        covered += found.ci_low <= 0.35 <= found.ci_high
    assert 181 <= covered <= 199


def test_the_same_seed_gives_the_same_interval_and_another_does_not() -> None:
    hits = np.random.default_rng(1).random(97) < 0.3
    first, again, other = (score([_measurement(hits)], 100, seed)[0] for seed in (3, 3, 4))
    assert first == again
    assert (first.ci_low, first.ci_high) != (other.ci_low, other.ci_high)


def test_equal_scores_are_ranked_by_class_not_in_favour_of_the_truth() -> None:
    scores = np.array([[0.5, 0.5, 0.5], [0.1, 0.7, 0.2], [0.3, 0.3, 0.4]])
    assert num_better(scores, np.array([2, 1, 0])).tolist() == [2, 0, 1]
