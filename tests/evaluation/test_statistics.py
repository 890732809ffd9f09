from __future__ import annotations

import numpy as np
import pytest

from bioclip.evaluation.statistics import Measurement, Proportion, place_truth, score, top_credit


def _measurement(hits: list[float] | np.ndarray, trials: object = None, classes: object = None) -> Measurement:
    hits = np.asarray(hits, dtype=np.float64)
    asked = np.ones(len(hits)) if trials is None else np.asarray(trials, dtype=np.float64)
    numbers = None if classes is None else np.asarray(classes, dtype=np.int64)
    return Measurement("zero_shot", {"rank": "species"}, "top1", Proportion(hits, asked, numbers), 0.1, 0.2, 10)


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


def test_equal_scores_share_their_places() -> None:
    scores = np.array([[0.5, 0.5, 0.5], [0.1, 0.7, 0.2], [0.3, 0.3, 0.4], [0.1 + 0.2, 0.3, 0.0]])
    num_better, num_tied = place_truth(scores, np.array([2, 1, 0, 1]))
    assert num_better.tolist() == [0, 0, 1, 0]
    assert num_tied.tolist() == [3, 1, 2, 2], "the rounding of a sum does not separate classes"
    assert top_credit(num_better, num_tied, 1).tolist() == [1 / 3, 1, 0, 1 / 2]
    assert top_credit(num_better, num_tied, 2).tolist() == [2 / 3, 1, 1 / 2, 1]


@pytest.mark.parametrize(("hits", "low", "high"), [(0, 0.0, 0.0249), (146, 0.9751, 1.0)])
def test_nothing_right_and_everything_right_get_the_exact_interval(hits: int, low: float, high: float) -> None:
    found = score([_measurement(np.arange(146) < hits)], 50, seed=1)[0]
    assert (found.method, found.unit, found.num_units) == ("clopper_pearson", "image", 146)
    assert (found.ci_low, found.ci_high) == pytest.approx((low, high), abs=1e-4)


def test_species_as_units_give_exact_intervals_over_species() -> None:
    found = score([_measurement(np.zeros(40))], 50, seed=1, species=np.repeat(np.arange(8), 5))[0]
    assert (found.num_units, found.unit, found.method) == (8, "species", "clopper_pearson")
    assert found.ci_high == pytest.approx(1 - 0.025 ** (1 / 8))


def test_a_metric_that_is_no_share_keeps_its_bootstrap() -> None:
    distances = _measurement(np.full(30, 2.0))
    assert score([distances], 50, seed=1)[0].method == "percentile_bootstrap"


@pytest.mark.parametrize("is_macro", [False, True])
def test_the_cluster_interval_equals_a_plain_resampling_of_species(is_macro: bool) -> None:
    random = np.random.default_rng(7)
    species = np.repeat(np.arange(9), random.integers(1, 12, size=9))
    hits = (random.random(len(species)) < random.random(9)[species]).astype(float)
    found = score([_measurement(hits, classes=species if is_macro else None)], 4000, seed=3, species=species + 100)[0]
    plain = []
    for _ in range(4000):
        drawn = [hits[species == one] for one in random.integers(9, size=9)]
        plain.append(np.mean([one.mean() for one in drawn]) if is_macro else np.concatenate(drawn).mean())
    assert (found.method, found.unit, found.num_units) == ("cluster_bootstrap", "species", 9)
    assert (found.ci_low, found.ci_high) == pytest.approx(np.percentile(plain, [2.5, 97.5]), abs=0.02)


def test_species_effects_widen_the_interval() -> None:
    random = np.random.default_rng(1)
    species = np.repeat(np.arange(20), 30)
    measurement = _measurement(random.random(600) < random.beta(0.6, 1.4, size=20)[species])
    images, clusters = (score([measurement], 500, 1, unit)[0] for unit in (None, species))
    assert clusters.ci_high - clusters.ci_low > 2 * (images.ci_high - images.ci_low)
