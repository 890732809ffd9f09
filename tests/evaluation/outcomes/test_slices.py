from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest

from bioclip import layout
from bioclip.errors import EvaluationError
from bioclip.evaluation.slices import UNKNOWN, describe_rarity, release_groups, slice_scores
from bioclip.releases import Release
from bioclip.storage import Storage
from tests.evaluation.outcomes.test_comparison import HITS_A, LABELS, stored_outcomes

GROUPS = pa.table({"item_id": [f"image-{place}" for place in range(110)], "source": ["eol", "gbif"] * 55, "license": [""] * 110})


def test_each_part_has_its_own_interval_and_images_without_a_value_are_a_part() -> None:
    found = slice_scores(stored_outcomes(HITS_A, LABELS), GROUPS, ["source", "license"])
    parts = {(one.by, one.group): one for one in found if one.metric == "top1"}
    assert {key: one.num_images for key, one in parts.items()} == {
        ("source", "eol"): 55, ("source", "gbif"): 55, ("source", UNKNOWN): 10, ("license", UNKNOWN): 120,
    }  # fmt: skip
    hits = HITS_A[:110:2]
    expected = binomtest(int(hits.sum()), 55).proportion_ci(method="wilson")
    eol = parts["source", "eol"]
    assert (eol.value, eol.ci_low, eol.ci_high) == pytest.approx((hits.mean(), expected.low, expected.high))
    assert (eol.unit, eol.num_units, eol.method) == ("image", 55, "wilson")


def test_the_units_of_a_part_are_those_of_its_images() -> None:
    outcomes = stored_outcomes(HITS_A, LABELS)
    first = pa.table({"item_id": [f"image-{place}" for place in range(120)], "half": ["a"] * 48 + ["b"] * 72})
    by_half = {one.group: one for one in slice_scores(outcomes, first, ["half"], "species") if one.metric == "macro_top1"}
    assert {name: (one.unit, one.num_units) for name, one in by_half.items()} == {"a": ("species", 4), "b": ("species", 6)}
    assert by_half["a"].value == pytest.approx(np.mean([HITS_A[label == LABELS].mean() for label in range(4)]))


def test_only_wanted_parameters_are_sliced_and_an_unknown_column_is_named() -> None:
    outcomes = stored_outcomes(HITS_A, LABELS)
    assert slice_scores(outcomes, GROUPS, ["source"], rank="genus") == []
    with pytest.raises(EvaluationError, match="the images have no column 'colour'; choose from source, license"):
        slice_scores(outcomes, GROUPS, ["colour"])


@pytest.mark.parametrize(("number", "name"), [(0, "0"), (1, "1-4"), (4, "1-4"), (5, "5-19"), (99, "20-99"), (5000, "100 or more")])
def test_rarity_is_a_bin_of_training_images(number: int, name: str) -> None:
    assert describe_rarity(number) == name


def test_a_release_groups_its_samples_by_what_it_knows(release: Release, tmp_path: Path) -> None:
    samples = [row for row in release.samples().to_pylist() if row["split"]]
    assert {row["image_type"] for row in release_groups(release).to_pylist()} == {""}
    shutil.copytree(release.storage.root, tmp_path / "release")
    types = {"uuid": [row["record_id"] for row in samples], "img_type": ["Camera-trap"] * len(samples)}
    pq.write_table(pa.table(types), tmp_path / "release" / layout.CATALOG)
    rows = {row["item_id"]: row for row in release_groups(replace(release, storage=Storage(str(tmp_path / "release")))).to_pylist()}
    assert rows.keys() == {row["record_id"] for row in samples}
    trained = [row["species"] for row in samples if row["split"] == "train"]
    for row in samples:
        expected = {"rarity": describe_rarity(trained.count(row["species"])), "source": row["source"], "image_type": "Camera-trap"}
        assert expected.items() <= rows[row["record_id"]].items()
