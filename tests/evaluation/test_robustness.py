from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bioclip.evaluation import load_scores
from bioclip.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt, shrink
from bioclip.evaluation.scoring import evaluate
from bioclip.evaluation.tasks import robustness
from bioclip.evaluation.tasks.robustness import VARIANTS, Retained, iter_variants
from bioclip.models.reference import ModelRef
from bioclip.models.trained import ModelInfo
from bioclip.releases import Release
from bioclip.settings import EvaluationSettings
from bioclip.storage import Storage
from tests.leakage.planting import photographs


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    from io import BytesIO

    return shrink(Image.open(BytesIO(photographs(1)[0])), 96)


def distance(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, np.float64) - np.asarray(other, np.float64)).mean())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_depends_on_image_and_key_alone_and_keeps_the_size(name: str, photograph: Image.Image) -> None:
    for severity in SEVERITIES:
        found = corrupt(photograph, name, severity, "a")
        assert (found.size, found.mode) == (photograph.size, "RGB")
        assert found.tobytes() == corrupt(photograph, name, severity, "a").tobytes()
        assert distance(found, photograph) > 0.5
    image = Image.new("RGB", (5, 3), (9, 200, 30))
    assert corrupt(image, name, 5, "tiny").size == (5, 3)


@pytest.mark.parametrize(
    "name", [one for one in CORRUPTIONS if one not in {"snow", "frost", "elastic_transform", "glass_blur", "motion_blur"}]
)
def test_the_fifth_severity_changes_an_image_more_than_the_first(name: str, photograph: Image.Image) -> None:
    first, last = (distance(corrupt(photograph, name, severity, "a"), photograph) for severity in (1, 5))
    assert last > 1.2 * first


def test_noise_has_the_deviation_of_the_paper() -> None:
    grey = Image.new("RGB", (200, 200), (128, 128, 128))
    for severity, deviation in ((1, 0.08), (2, 0.12)):
        found = np.asarray(corrupt(grey, "gaussian_noise", severity, "a"), np.float64) / 255
        assert found.std() == pytest.approx(deviation, rel=0.02)
    shot = np.asarray(corrupt(grey, "shot_noise", 1, "a"), np.float64) / 255
    assert shot.std() == pytest.approx(np.sqrt(128 / 255 / 60), rel=0.03)
    changed = np.asarray(corrupt(grey, "impulse_noise", 3, "a")) != 128
    assert changed.mean() == pytest.approx(0.09, rel=0.1)


def test_blurs_keep_the_brightness() -> None:
    random = np.random.default_rng(1)
    image = Image.fromarray(random.integers(0, 255, (80, 120, 3), dtype=np.uint8))
    for name in ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "pixelate"):
        found = np.asarray(corrupt(image, name, 3, "a"), np.float64)
        assert abs(found.mean() - np.asarray(image).mean()) < 2, name
        assert found.std() < 0.8 * np.asarray(image).std(), name


def test_every_variant_of_every_image_is_made_once() -> None:
    ids = [key for key, _ in iter_variants([("a/b", photographs(1)[0])])]
    assert ids == [f"{number}/a/b" for number in range(len(VARIANTS))]
    assert len(set(VARIANTS)) == 1 + 3 + 15 * 5


def test_the_retained_share_is_that_above_chance() -> None:
    clean, corrupted, asked = np.array([1.0, 1, 0, 9]), np.array([1.0, 0, 0.2, 9]), np.array([True, True, True, False])
    once = np.ones((1, 4))
    assert Retained(corrupted, clean, asked, 0.1)(once)[0] == pytest.approx((0.4 - 0.1) / (2 / 3 - 0.1))
    assert np.isnan(Retained(corrupted, clean * 0, asked, 0.1)(once)[0])


@pytest.mark.nightly
def test_corrupted_photographs_are_scored_through_the_model(
    release: Release, model: ModelInfo, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(robustness, "MAX_IMAGES", 6)
    storage = Storage(str(workspace))
    settings = EvaluationSettings(
        benchmarks=("known_species",), tasks=("robustness", "zero_shot"), num_bootstraps=50, caption_types=("taxon",)
    )
    found = load_scores(storage, evaluate(settings, ModelRef("workspace", model.model_id), release, storage).info.evaluation_id)
    rows = found.rows(task="robustness", metric="top1")
    assert len(rows) == 1 + 3 + 15 + 5 + 1
    by_corruption = {row["parameters"].get("corruption"): row["value"] for row in rows if "severity" not in row["parameters"]}
    assert by_corruption["all"] == pytest.approx(np.mean([by_corruption[name] for name in CORRUPTIONS]))
    assert all(row["num_images"] == 6 and row["chance"] == pytest.approx(1 / 9) for row in rows)
