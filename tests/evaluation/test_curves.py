from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from bioclip.evaluation.curves import AccuracyAtCoverage, Auroc, CalibrationError, FalsePositiveRate, RiskCoverageArea

RANDOM = np.random.default_rng(8)
SCORES = RANDOM.normal(size=300).round(1)
"""Rounded, so that many scores are tied."""
POSITIVE = RANDOM.random(300) < 0.4 + 0.1 * SCORES
HITS = (RANDOM.random(300) < 0.5).astype(float)
ONCE = np.ones((1, 300))
ALL = np.ones(300, dtype=bool)


def repeated(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.repeat(values, counts.astype(int))


def test_the_area_under_the_roc_curve_equals_scikit_learns() -> None:
    assert Auroc(SCORES, ALL, POSITIVE)(ONCE)[0] == pytest.approx(roc_auc_score(POSITIVE, SCORES), abs=1e-12)


def test_counts_are_repetitions_of_an_image() -> None:
    counts = RANDOM.integers(4, size=300).astype(float)
    again = np.ones((1, int(counts.sum())))
    scores, positive, hits = (repeated(counts, values) for values in (SCORES, POSITIVE, HITS))
    everywhere = again[0] > 0
    pairs = [
        (Auroc(SCORES, ALL, POSITIVE), Auroc(scores, everywhere, positive)),
        (FalsePositiveRate(SCORES, ALL, POSITIVE), FalsePositiveRate(scores, everywhere, positive)),
        (RiskCoverageArea(SCORES, ALL, HITS), RiskCoverageArea(scores, everywhere, hits)),
        (AccuracyAtCoverage(SCORES, ALL, HITS, 0.7), AccuracyAtCoverage(scores, everywhere, hits, 0.7)),
    ]
    for counted, plain in pairs:
        assert counted(counts[None])[0] == pytest.approx(plain(again)[0], abs=1e-12), type(counted).__name__


def test_the_false_positive_rate_is_that_at_the_first_threshold_with_95_percent_of_the_positives() -> None:
    false, true, _ = roc_curve(POSITIVE, SCORES, drop_intermediate=False)
    assert FalsePositiveRate(SCORES, ALL, POSITIVE)(ONCE)[0] == pytest.approx(false[true >= 0.95][0], abs=1e-12)


def test_images_that_are_not_asked_change_nothing() -> None:
    asked = RANDOM.random(300) < 0.5
    assert Auroc(SCORES, asked, POSITIVE)(ONCE)[0] == pytest.approx(roc_auc_score(POSITIVE[asked], SCORES[asked]), abs=1e-12)


def test_without_one_kind_of_image_the_value_is_undefined() -> None:
    for statistic in (
        Auroc(SCORES, ALL, ALL),
        FalsePositiveRate(SCORES, ALL, ALL),
        Auroc(SCORES, ALL, ~ALL),
        FalsePositiveRate(SCORES, ALL, ~ALL),
    ):
        assert np.isnan(statistic(ONCE)[0])


def test_the_risk_coverage_area_is_the_mean_error_of_all_prefixes() -> None:
    scores = RANDOM.permutation(300).astype(float)
    errors = 1 - HITS[np.argsort(-scores)]
    expected = np.mean([errors[: number + 1].mean() for number in range(300)])
    assert RiskCoverageArea(scores, ALL, HITS)(ONCE)[0] == pytest.approx(expected, abs=1e-12)
    assert RiskCoverageArea(HITS, ALL, HITS)(ONCE)[0] < RiskCoverageArea(1 - HITS, ALL, HITS)(ONCE)[0]


def test_a_constant_confidence_selects_nothing() -> None:
    constant = np.zeros(300)
    assert AccuracyAtCoverage(constant, ALL, HITS, 0.3)(ONCE)[0] == pytest.approx(HITS.mean())
    assert RiskCoverageArea(constant, ALL, HITS)(ONCE)[0] == pytest.approx(1 - HITS.mean())


def test_the_calibration_error_is_the_weighted_gap_of_bins_of_equal_size() -> None:
    confidence = RANDOM.random(300)
    order = np.argsort(confidence)
    expected = sum(abs((HITS - confidence)[part].sum()) for part in np.array_split(order, 15)) / 300
    assert CalibrationError(confidence, HITS, 15)(ONCE)[0] == pytest.approx(expected, abs=1e-12)
    assert CalibrationError(np.full(300, 0.25), HITS, 15)(ONCE)[0] == pytest.approx(abs(HITS.mean() - 0.25))
