"""Filters before a release: each switchable, each with its own reason, and thresholds that score nothing again."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageFilter

from bioclip.errors import SettingsError, StorageError, UnknownNameError
from bioclip.scorers import build_scorer
from bioclip.scorers.stage import plan_scores
from bioclip.selection.filters import filter_images, read_scores
from bioclip.selection.stage import plan_release
from bioclip.settings import ReleaseSettings
from bioclip.settings.loading import load_settings
from bioclip.storage import Storage
from tests.conftest import Curated, run_jobs
from tests.leakage.planting import photographs
from tests.selection.conftest import Workspace
from tests.selection.rows import candidates_of, rows_of
from tests.training.conftest import TINY_MODEL

PROMPTS = {"positive": ["a photo of an animal", "a photo of a plant"], "negative": ["a photo of an empty scene"]}
OPTIONS = {"model": TINY_MODEL.model_dump(), "seed": 3, "logit_scale": 3.0, **PROMPTS}
"""A tower that never learnt is sure of itself at CLIP's own scale; at this one its scores spread."""


def empty_scenes(threshold: float, **changes: Any) -> dict[str, Any]:
    return {"filters": [{"name": "empty", "scorer": "zero_shot", "options": OPTIONS, "threshold": threshold, **changes}]}


def filtered(storage: Storage, rows: list[dict[str, Any]], settings: ReleaseSettings) -> list[dict[str, Any]]:
    candidates = candidates_of(rows)
    filter_images(storage, candidates, settings)
    return rows_of(candidates)


@pytest.fixture(scope="module")
def scored(curated: Curated, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The sample with every image scored by a small model from a seed."""
    workspace = Workspace(curated, tmp_path_factory.mktemp("scored") / "workspace")
    run_jobs(workspace.storage, "scores", plan_scores(workspace.storage, workspace.settings(**empty_scenes(0.5))))
    return workspace


@pytest.fixture(scope="module")
def images(workspace: Workspace) -> dict[str, dict[str, Any]]:
    columns = ["record_id", "original_width", "original_height", "entropy_bits"]
    return {row["record_id"]: row for row in pq.read_table(workspace.storage.uri("images"), columns=columns).to_pylist()}


class TestHeaders:
    def test_small_narrow_and_flat_images_leave_with_their_own_reasons(
        self, workspace: Workspace, images: dict[str, dict[str, Any]]
    ) -> None:
        rules = {"min_side_px": 100, "max_aspect": 1.6, "min_entropy_bits": 4.5}
        before, after = workspace.assign()[0], workspace.assign(**rules)[0]
        expected: dict[str, set[str]] = {"side_below_minimum": set(), "aspect_above_maximum": set(), "near_constant": set()}
        was_open = {"val_species_without_training", "label_conflict"}
        for row in before:
            if row["split"] or row["drop_reason"].startswith("leak_") or row["drop_reason"] in was_open:
                image = images[row["record_id"]]
                shorter, longer = sorted((image["original_width"], image["original_height"]))
                if shorter < 100:
                    expected["side_below_minimum"].add(row["record_id"])
                elif longer > 1.6 * shorter:
                    expected["aspect_above_maximum"].add(row["record_id"])
                elif image["entropy_bits"] < 4.5:
                    expected["near_constant"].add(row["record_id"])
        for reason, record_ids in expected.items():
            assert record_ids, reason
            assert {row["record_id"] for row in after if row["drop_reason"] == reason} == record_ids

    def test_a_filter_takes_images_out_of_splits_and_moves_none_into_training(self, workspace: Workspace) -> None:
        rules = {"heldout_species": sorted({row["species"] for row in workspace.assign()[0] if row["split"] == "heldout"})[:1]}
        before = {row["record_id"]: row["split"] for row in workspace.assign(**rules)[0]}
        after = {row["record_id"]: row["split"] for row in workspace.assign(**rules, max_aspect=1.6)[0]}
        assert sum(map(bool, after.values())) < sum(map(bool, before.values()))
        assert {split for record_id, split in before.items() if after[record_id] == "heldout"} == {"heldout"}
        assert "heldout" not in {before[record_id] for record_id, split in after.items() if split == "train"}

    def test_types_are_compared_without_regard_to_spelling_and_silence_stays(self) -> None:
        rows = [
            {"record_id": str(number), "image_type": value, "is_crop": False, "entropy_bits": 7.0}
            | dict.fromkeys(("width", "height", "original_width", "original_height"), 300)
            for number, value in enumerate(["Specimen_Label", "drawer", "specimen", "", None])
        ]
        rows = filtered(Storage("unused"), rows, ReleaseSettings(exclude_image_types=("specimen label", "Drawer")))
        assert [row["drop_reason"] for row in rows] == ["image_type_excluded", "image_type_excluded", "", "", ""]
        assert rows[0]["drop_detail"] == "Specimen_Label"

    def test_the_size_of_a_crop_counts_and_not_that_of_its_file(self) -> None:
        sizes = {"original_width": 4000, "original_height": 3000, "width": 90, "height": 60}
        rows = [{"record_id": "a", "image_type": "", "is_crop": is_crop, "entropy_bits": 7.0, **sizes} for is_crop in (False, True)]
        rows = filtered(Storage("unused"), rows, ReleaseSettings(min_side_px=100))
        assert [row["drop_reason"] for row in rows] == ["", "side_below_minimum"]


class TestScores:
    def test_images_below_the_threshold_leave_and_all_others_stay(self, scored: Workspace) -> None:
        table = read_scores(scored.storage, "empty")
        scores = dict(zip(table["record_id"].to_pylist(), table["score"].to_pylist(), strict=True))
        assert all(0 <= score <= 1 for score in scores.values())
        threshold = float(np.quantile(list(scores.values()), 0.2))
        rows, counts = scored.assign(**empty_scenes(threshold))
        refused = [row for row in rows if row["drop_reason"] == "filter_empty"]
        assert counts.dropped["filter_empty"] == len(refused) > 50
        assert all(scores[row["record_id"]] < threshold for row in refused)
        assert all(scores[row["record_id"]] >= threshold for row in rows if row["split"])
        assert refused[0]["drop_detail"] == f"score {scores[refused[0]['record_id']]:g}, at least {threshold:g} is wanted"
        others, _ = scored.assign(**empty_scenes(threshold, keep="at_most"))
        assert all(scores[row["record_id"]] <= threshold for row in others if row["split"])

    def test_another_threshold_scores_nothing_again_and_other_prompts_do(self, scored: Workspace) -> None:
        again = plan_scores(scored.storage, scored.settings(**empty_scenes(0.9, keep="at_most", batch_size=7)))
        assert all(job.done() for job in again)
        assert plan_release(scored.storage, scored.settings(**empty_scenes(0.123456)))[0].done() is None
        other = {**OPTIONS, "negative": ["a photo of a person"]}
        assert not any(job.done() for job in plan_scores(scored.storage, scored.settings(**empty_scenes(0.5, options=other))))

    def test_an_image_without_a_score_is_not_let_through(self, scored: Workspace) -> None:
        rows = [row for row in scored.assign()[0] if row["split"]][:1]
        known = {
            "record_id": rows[0]["record_id"],
            "is_crop": False,
            "entropy_bits": 7.0,
            "image_type": "",
            "original_width": 300,
            "original_height": 300,
        }
        unknown = {**known, "record_id": "0" * 36}
        rows = filtered(scored.storage, [known, unknown], scored.settings(**empty_scenes(0.0)).release)
        assert [row["drop_reason"] for row in rows] == ["", "filter_empty_unscored"]

    def test_a_release_without_its_scores_names_the_stage(self, workspace: Workspace) -> None:
        with pytest.raises(StorageError, match="stage 'scores' has not been run"):
            plan_release(workspace.storage, workspace.settings(**empty_scenes(0.5)))


class TestScorers:
    def test_the_zero_shot_score_is_open_clip_s_probability(self) -> None:
        import torch

        photos = photographs(6)
        scorer = build_scorer("zero_shot", OPTIONS, 4)
        scores = dict(scorer.score([(str(number), photo) for number, photo in enumerate(photos)]))
        model = scorer.encoder.model
        encoded = scorer.encoder.encode_images([(str(number), photo) for number, photo in enumerate(photos)])
        with torch.no_grad():
            classes = [model.network.encode_text(model.tokenizer(prompts), normalize=True).mean(0) for prompts in PROMPTS.values()]
            stacked = torch.stack([one / one.norm() for one in classes])
            expected = (3 * torch.tensor(encoded.features) @ stacked.T).softmax(-1)[:, 0]
        assert np.allclose([scores[str(number)] for number in range(6)], expected.numpy(), atol=1e-5)

    def test_exchanged_prompts_turn_the_score_round(self) -> None:
        images = [(str(number), photo) for number, photo in enumerate(photographs(4))]
        turned = {**OPTIONS, "positive": PROMPTS["negative"], "negative": PROMPTS["positive"]}
        one, other = (dict(build_scorer("zero_shot", options, 4).score(images)) for options in (OPTIONS, turned))
        assert np.allclose([one[key] + other[key] for key in one], 1)

    def test_blur_takes_sharpness_away_and_what_is_torn_has_none(self) -> None:
        photo = photographs(1)[0]
        blurred = io.BytesIO()
        Image.open(io.BytesIO(photo)).convert("RGB").filter(ImageFilter.GaussianBlur(6)).save(blurred, "PNG")
        images = [("sharp", photo), ("blurred", blurred.getvalue()), ("torn", photo[:200])]
        scores = dict(build_scorer("sharpness", {}, 8).score(images))
        assert scores.keys() == {"sharp", "blurred"}
        assert scores["blurred"] < 0.2 * scores["sharp"]

    def test_wrong_scorers_and_options_are_named(self) -> None:
        with pytest.raises(UnknownNameError, match=r"scorer 'magic' is not registered; known: sharpness, zero_shot"):
            build_scorer("magic", {}, 8)
        with pytest.raises(SettingsError, match=r"option 'side' of scorer 'sharpness' is refused: .*; it takes side_px"):
            build_scorer("sharpness", {"side": 3}, 8)
        with pytest.raises(SettingsError, match=r"option 'positive' of scorer 'zero_shot' is refused"):
            build_scorer("zero_shot", {"negative": ["x"]}, 8)
        one = "{name: a, scorer: sharpness, threshold: 1}"
        with pytest.raises(SettingsError, match="filter 'a' is named twice"):
            load_settings(assignments=[f"release={{filters: [{one}, {one}]}}"])
