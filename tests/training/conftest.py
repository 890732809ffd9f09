from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bioclip.releases import Release
from bioclip.settings import TrainingSettings
from tests.training.models import TINY_MODEL
from tests.training.paired_runs import PairedRuns
from tests.training.process_pair import ProcessPair
from tests.training.sample_release import write_release


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


@pytest.fixture(scope="session")
def process_pair() -> Iterator[ProcessPair]:
    """Two processes for functions that run in both."""
    pair = ProcessPair()
    yield pair
    pair.close()
    pair.folder.cleanup()


@pytest.fixture(scope="session")
def paired_runs(process_pair: ProcessPair, release: Release, tmp_path_factory: pytest.TempPathFactory) -> PairedRuns:
    """Runs of two processes on the release."""
    return PairedRuns(process_pair, release, tmp_path_factory.mktemp("paired"))
