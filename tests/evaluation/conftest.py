from __future__ import annotations

from pathlib import Path

import pytest

from bioclip.models.trained import ModelInfo
from bioclip.releases import Release
from bioclip.settings import TrainingSettings
from bioclip.storage import Storage
from bioclip.training.loop import train
from tests.training.conftest import TINY_MODEL
from tests.training.sample_release import write_release


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="session")
def release(workspace: Path) -> Release:
    return write_release(workspace)


@pytest.fixture(scope="session")
def model(workspace: Path, release: Release) -> ModelInfo:
    """A small model that has learnt a little from the release's 63 photographs."""
    settings = TrainingSettings(
        model=TINY_MODEL, num_steps=80, batch_size=32, learning_rate=3e-3, warmup_steps=10, min_crop_area=0.5, num_threads=1
    )
    return train(settings, release, Storage(str(workspace))).info
