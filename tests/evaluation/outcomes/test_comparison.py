from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binomtest

from bioclip.errors import EvaluationError
from bioclip.evaluation.comparison import compare, summarise_seeds
from bioclip.evaluation.comparison.mcnemar import mcnemar
from bioclip.evaluation.comparison.paired import PairedHits, difference_score
from bioclip.evaluation.predictions import PREDICTION_SCHEMA
from bioclip.evaluation.statistics import Units


def stored_outcomes(hits: np.ndarray, labels: np.ndarray, first: int = 0, benchmark: str = "known", rank: str = "species") -> pa.Table:
    """A row of PREDICTION_SCHEMA per image."""
    parameters = f'{{"caption_type":"sci","rank":"{rank}"}}'
    rows = [
        {
            "benchmark": benchmark,
            "task": "zero_shot",
            "parameters": parameters,
            "item_id": f"image-{place + first}",
            "observation": f"seen-{(place + first) // 2}",
            "truth": f"species {label}",
            "truth_position": 0 if hit else 1,
            "num_tied": 1,
            "top": [],
        }
        for place, (hit, label) in enumerate(zip(hits.tolist(), labels.tolist(), strict=True))
    ]
    return pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA)


LABELS = np.repeat(np.arange(10), 12)
RANDOM = np.random.default_rng(4)
DIFFICULTY = RANDOM.random(120)
HITS_A, HITS_B = DIFFICULTY < 0.55, np.where(RANDOM.random(120) < 0.8, DIFFICULTY, RANDOM.random(120)) < 0.4


@pytest.mark.parametrize(("a_only", "b_only"), [(0, 0), (3, 0), (10, 4), (7, 7), (30, 55)])
def test_mcnemars_p_values_are_those_of_the_binomial_test(a_only: int, b_only: int) -> None:
    exact, mid_p = mcnemar(a_only, b_only)
    assert exact == pytest.approx(binomtest(a_only, a_only + b_only).pvalue if a_only + b_only else 1.0)
    assert mid_p <= exact
    if a_only == b_only:
        assert (exact, mid_p) == (1.0, pytest.approx(1.0))


def test_a_difference_states_effect_interval_p_value_and_discordant_images() -> None:
    found = {one.metric: one for one in compare(stored_outcomes(HITS_A, LABELS), stored_outcomes(HITS_B, LABELS))}
    top1 = found["top1"]
    assert (top1.value_a, top1.value_b) == pytest.approx((HITS_A.mean(), HITS_B.mean()))
    assert top1.difference == pytest.approx(HITS_A.mean() - HITS_B.mean())
    assert (top1.num_a_better, top1.num_b_better) == ((HITS_A & ~HITS_B).sum(), (HITS_B & ~HITS_A).sum())
    assert (top1.unit, top1.num_units, top1.num_images, top1.method) == ("image", 120, 120, "paired_bootstrap")
    assert top1.mcnemar_exact == pytest.approx(binomtest(top1.num_a_better, top1.num_discordant).pvalue)
    error = np.std(HITS_A.astype(float) - HITS_B, ddof=1) / np.sqrt(120)
    assert (top1.ci_high - top1.ci_low) / 2 == pytest.approx(1.98 * error, rel=0.1)
    assert top1.p_value == pytest.approx(2 * NormalDist().cdf(-abs(top1.difference) / error), rel=0.9, abs=0.01)
    assert (top1.p_value < 0.05) == (top1.ci_low > 0)
    assert found["macro_top1"].method == "paired_stratified"
    assert found["macro_top1"].mcnemar_exact is None


def test_a_comparison_the_other_way_round_has_the_other_sign() -> None:
    there, back = (
        compare(stored_outcomes(HITS_A, LABELS), stored_outcomes(HITS_B, LABELS)),
        compare(stored_outcomes(HITS_B, LABELS), stored_outcomes(HITS_A, LABELS)),
    )
    for one, other in zip(there, back, strict=True):
        assert (one.difference, one.ci_low, one.ci_high) == pytest.approx((-other.difference, -other.ci_high, -other.ci_low))
        assert one.p_value == pytest.approx(other.p_value)


def test_a_model_beside_itself_differs_in_nothing() -> None:
    for unit in ("image", "observation", "species"):
        for one in compare(stored_outcomes(HITS_A, LABELS), stored_outcomes(HITS_A, LABELS), unit):
            assert (one.difference, one.ci_low, one.ci_high, one.p_value, one.num_discordant) == (0, 0, 0, 1, 0)


def test_species_and_observations_are_units() -> None:
    tables = stored_outcomes(HITS_A, LABELS), stored_outcomes(HITS_B, LABELS)
    for unit, num_units in (("species", 10), ("observation", 60)):
        top1 = compare(*tables, {"known": unit})[0]
        assert (top1.unit, top1.num_units, top1.mcnemar_exact) == (unit, num_units, None)


def test_an_effect_that_differs_by_species_widens_the_interval_over_species() -> None:
    gains = (LABELS < 5).astype(float)
    paired = PairedHits(gains, np.zeros(120), np.ones(120))
    images, species = (difference_score(paired, units, 500, 1) for units in (Units.images(120), Units("species", LABELS)))
    assert species.ci_high - species.ci_low > 3 * (images.ci_high - images.ci_low)


def test_images_of_one_evaluation_alone_are_counted() -> None:
    top1 = compare(stored_outcomes(HITS_A, LABELS), stored_outcomes(HITS_B[7:], LABELS[7:], first=7))[0]
    assert (top1.num_images, top1.num_only_a, top1.num_only_b) == (113, 7, 0)
    assert top1.value_a == pytest.approx(HITS_A[7:].mean())


def test_few_shot_folds_are_one_difference() -> None:
    tables = []
    for hits in (HITS_A, HITS_B):
        folds = []
        for fold in range(3):
            kept = np.flatnonzero(np.arange(120) % 12 != fold)
            one = stored_outcomes(hits[kept], LABELS[kept]).to_pylist()
            for row, place in zip(one, kept.tolist(), strict=True):
                row |= {"task": "few_shot", "parameters": f'{{"fold":{fold},"rank":"species","shots":1}}', "item_id": f"image-{place}"}
            folds += one
        tables.append(pa.Table.from_pylist(folds, schema=PREDICTION_SCHEMA))
    top1 = compare(*tables)[0]
    assert (top1.task, top1.parameters, top1.num_images) == ("few_shot", {"rank": "species", "shots": 1}, 120)
    asked = np.where(np.arange(120) % 12 < 3, 2, 3)
    assert top1.difference == pytest.approx(((HITS_A.astype(float) - HITS_B) * asked).sum() / asked.sum())
    assert top1.mcnemar_exact is None


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (stored_outcomes(HITS_B, LABELS, benchmark="elsewhere"), "share no benchmark (known and elsewhere)"),
        (stored_outcomes(HITS_B, LABELS, first=500), "share none of 120 and 120 images"),
        (
            stored_outcomes(HITS_B, LABELS + 1),
            "image 'image-0' of benchmark 'known' is 'species 0' in one evaluation and 'species 1' in the other",
        ),
        (stored_outcomes(HITS_B, LABELS, rank="genus"), "share no set of parameters"),
    ],
)
def test_evaluations_that_cannot_be_compared_are_refused(other: pa.Table, message: str) -> None:
    with pytest.raises(EvaluationError) as error:
        compare(stored_outcomes(HITS_A, LABELS), other)
    assert message in str(error.value)


def test_seeds_that_differ_widen_the_interval_of_their_mean() -> None:
    alike = [stored_outcomes(HITS_A, LABELS) for _ in range(3)]
    apart = [stored_outcomes(np.roll(DIFFICULTY, 7 * seed) < level, LABELS) for seed, level in enumerate((0.3, 0.5, 0.7))]
    first, other = summarise_seeds(alike)[0], summarise_seeds(apart)[0]
    assert (first.metric, first.num_seeds, first.seed_deviation, first.num_images) == ("top1", 3, 0, 120)
    expected = binomtest(int(HITS_A.sum()), 120).proportion_ci(method="wilson")
    assert (first.ci_low, first.ci_high) == pytest.approx((expected.low, expected.high))
    assert other.value == pytest.approx(np.mean(other.values))
    assert other.seed_deviation == pytest.approx(np.std(other.values, ddof=1))
    assert other.ci_high - other.ci_low > 2 * (first.ci_high - first.ci_low)
    with pytest.raises(EvaluationError, match="two models or more, not 1"):
        summarise_seeds(alike[:1])
