from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bioclip.releases import Release
from bioclip.settings import ModelSettings, TrainingSettings
from tests.training.sample_release import write_release

TINY_MODEL = ModelSettings(
    name="tiny",
    architecture={
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "layers": 1, "head_width": 32},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    },
)


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return write_release(tmp_path_factory.mktemp("release"))


@pytest.fixture
def tiny_settings() -> Callable[..., TrainingSettings]:
    def settings(**changes: object) -> TrainingSettings:
        values = {
            "model": TINY_MODEL,
            "num_steps": 12,
            "batch_size": 16,
            "learning_rate": 2e-3,
            "warmup_steps": 2,
            "min_crop_area": 0.5,
            "horizontal_flip": True,
            "num_threads": 1,
            "checkpoint_every_steps": 3,
            "log_every_steps": 1,
        }
        return TrainingSettings.model_validate(values | changes)

    return settings


@pytest.fixture
def workspace(release: Release, tmp_path: Path) -> Path:
    """A workspace of its own that holds the release."""
    shutil.copytree(Path(release.storage.root).parent, tmp_path / "releases")
    return tmp_path
