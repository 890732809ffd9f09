"""The simulation of `python -m benchmarks interval_coverage`, small and with fixed seeds; the committed results have the full one."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.models.interval_coverage import Cases, sample_few_shot, sample_images, sample_species

pytestmark = pytest.mark.nightly
LEAST, MOST = 0.90, 0.995
"""200 repeats of an interval that covers 95 % have a standard error of 1.5 points."""


def covered(cases: Cases) -> dict[str, float]:
    return {name: one.covered / one.repeats for name, one in cases.items()}


@pytest.mark.parametrize("sample", [sample_species, sample_images])
def test_intervals_of_hits_cover_the_truth(sample: object) -> None:
    assert callable(sample)
    found = covered(sample(20, 200, np.random.default_rng(1)))
    assert len(found) == 3
    assert all(LEAST <= share <= MOST for share in found.values()), found


def test_intervals_over_images_do_not_cover_other_species() -> None:
    cases = sample_species(20, 120, np.random.default_rng(2))
    assert cases["micro"].usual / cases["micro"].usual_repeats < 0.75


@pytest.mark.parametrize("kind", ["species", "image"])
def test_intervals_of_few_shot_scores_cover_the_truth(kind: str) -> None:
    cases = sample_few_shot(20, 80, np.random.default_rng(3), kind)
    assert cases.keys() == {"1-shot, micro", "1-shot, macro", "5-shot, micro", "5-shot, macro"}
    assert all(share >= 0.88 for share in covered(cases).values()), covered(cases)
