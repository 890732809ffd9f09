from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from scipy.stats import t as student

from bioclip.evaluation.predictions import Predictions, rank_answers
from bioclip.evaluation.statistics import Measurement, Proportion, Units, place_truth, score, top_credit
from bioclip.evaluation.statistics.variances import leave_one_out, stratified_variance


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
    distances = 2.0 * np.random.default_rng(1).random(97)
    first, again, other = (score([_measurement(distances)], 100, seed)[0] for seed in (3, 3, 4))
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
    found = score([_measurement(np.zeros(40))], 50, 1, Units("species", np.repeat(np.arange(8), 5)))[0]
    assert (found.num_units, found.unit, found.method) == (8, "species", "clopper_pearson")
    assert found.ci_high == pytest.approx(1 - 0.025 ** (1 / 8))


def test_a_metric_that_is_no_share_keeps_its_bootstrap() -> None:
    distances = _measurement(np.full(30, 2.0))
    assert score([distances], 50, seed=1)[0].method == "percentile_bootstrap"


@pytest.mark.parametrize(("num_hits", "num_images"), [(1, 12), (7, 29), (40, 150)])
def test_a_share_of_images_has_wilsons_interval(num_hits: int, num_images: int) -> None:
    found = score([_measurement(np.arange(num_images) < num_hits)], 2, seed=1)[0]
    expected = binomtest(num_hits, num_images).proportion_ci(method="wilson")
    assert (found.method, found.num_units) == ("wilson", num_images)
    assert (found.ci_low, found.ci_high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("is_macro", [False, True])
def test_the_jackknife_equals_leaving_out_species_one_by_one(is_macro: bool) -> None:
    random = np.random.default_rng(7)
    species = np.repeat(np.arange(9), random.integers(1, 12, size=9))
    hits = (random.random(len(species)) < random.random(9)[species]).astype(float)
    measurement = _measurement(hits, classes=species if is_macro else None)
    plain = []
    for one in range(9):
        others = [hits[species == other] for other in range(9) if other != one]
        plain.append(np.mean([hit.mean() for hit in others]) if is_macro else np.concatenate(others).mean())
    assert leave_one_out(measurement.statistic, species + 100) == pytest.approx(plain)
    found = score([measurement], 2, 3, Units("species", species + 100))[0]
    assert (found.method, found.unit, found.num_units) == ("wilson_jackknife", "species", 9)
    error, share = np.sqrt(8 / 9 * np.square(plain - np.mean(plain)).sum()), found.value
    sizes = np.ones(9) if is_macro else np.bincount(species)
    quantile = student.ppf(0.975, sizes.sum() ** 2 / np.square(sizes).sum() - 1)
    for limit in (found.ci_low, found.ci_high):
        assert abs(limit - share) == pytest.approx(quantile * error * np.sqrt(limit * (1 - limit) / share / (1 - share)))


@pytest.mark.parametrize("top", [1, 5])
@pytest.mark.parametrize("is_macro", [False, True])
def test_a_species_that_is_left_out_is_no_answer_either(top: int, is_macro: bool) -> None:
    random = np.random.default_rng(2)
    labels = np.repeat(np.arange(9), random.integers(1, 8, size=9))
    scores = np.round(random.normal(size=(len(labels), 9)), 1 if top == 1 else 9)  # some are tied for the first place

    def share(kept: np.ndarray) -> float:
        images = np.isin(labels, kept)
        truth = np.searchsorted(kept, labels[images])
        credit = top_credit(*place_truth(scores[images][:, kept], truth), top)
        return float(np.mean([credit[truth == one].mean() for one in np.unique(truth)]) if is_macro else credit.mean())

    ranked = rank_answers(scores, labels)
    predictions = Predictions(
        task="zero_shot", parameters={}, names=[str(one) for one in range(9)], truth=labels, position=ranked.position, top=ranked.top,
        asked=np.ones(len(labels), bool), guess=np.full(9, 1 / 9), num_classes=9, num_tied=ranked.num_tied,
    )  # fmt: skip
    ones = np.ones(len(labels))
    proportion = Proportion(predictions.credit(top), ones, labels if is_macro else None, predictions.rivals(top))
    assert proportion.value == pytest.approx(share(np.arange(9)))
    plain = [share(np.delete(np.arange(9), one)) for one in range(9)]
    assert leave_one_out(proportion, labels) == pytest.approx(plain)


def test_classes_with_one_image_have_the_variance_of_the_others() -> None:
    hits, classes = np.array([1.0, 0, 1, 1, 0, 1]), np.array([0, 0, 0, 3, 3, 7])
    found = stratified_variance(Proportion(hits, np.ones(6), classes), np.arange(6))
    first, second = np.var([1, 0, 1], ddof=1), np.var([1, 0], ddof=1)
    assert found.value == pytest.approx((first / 3 + second / 2 + (2 * first + second) / 3) / 9)
    assert found.degrees == 3


def test_photographs_of_one_observation_count_as_one() -> None:
    hits, observations = np.repeat([1.0, 0, 1, 0, 0, 1, 0, 0], 5), np.repeat(np.arange(8), 5)
    found = score([_measurement(hits)], 2, 1, Units("observation", observations))[0]
    images = score([_measurement(hits)], 2, 1)[0]
    assert (found.unit, found.num_units, images.unit, images.num_units) == ("observation", 8, "image", 40)
    assert found.ci_high - found.ci_low > 1.9 * (images.ci_high - images.ci_low)


def test_species_effects_widen_the_interval() -> None:
    random = np.random.default_rng(1)
    species = np.repeat(np.arange(20), 30)
    measurement = _measurement(random.random(600) < random.beta(0.6, 1.4, size=20)[species])
    images, clusters = (score([measurement], 500, 1, unit)[0] for unit in (None, Units("species", species)))
    assert clusters.ci_high - clusters.ci_low > 2 * (images.ci_high - images.ci_low)
