"""Small releases of real pictures that tests may forge: one with copied pictures, one with re-encoded pictures."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.releases.release_folder import Folder
from benchmarks.releases.release_workspace import release, write_workspace
from bioclip.releases.manifest import Release
from bioclip.settings.loading import build_settings
from bioclip.storage import Storage
from bioclip.verification.verify import Verification, verify_release

NUM_IMAGES = 160
STORED_PX, SMALLER_PX = 256, 128


def make_release(root: Path, image_px: int, numbers: range = range(NUM_IMAGES)) -> Release:
    """A release of pictures of 256 x 192 px, continuing what is there."""
    write_workspace(Storage(str(root)), numbers, 4, 16, true_phash=True)
    tree = {
        "workspace": {"uri": str(root)},
        "ingest": {"num_partitions": 4},
        "release": {"train_small_fraction": 0.3},
        "leakage": {"guards": {"near": False}},
        "shards": {"samples_per_shard": 40, "image_px": image_px},
    }
    return release(build_settings(tree))


@dataclass(frozen=True)
class Work:
    """A release of one's own to spoil."""

    folder: Folder

    @property
    def root(self) -> Path:
        return self.folder.root

    def check(self, deep: bool = True) -> Verification:
        return verify_release(Storage(str(self.root)), deep)

    def found(self, deep: bool = True) -> set[tuple[str, str]]:
        """(kind, file) of all findings."""
        return {(finding.kind, finding.name) for finding in self.check(deep).findings}

    def kinds(self, deep: bool = True) -> set[str]:
        return {kind for kind, _ in self.found(deep)}


@pytest.fixture(scope="session")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Release]:
    """By the longer side of their pictures; not to be written into."""
    root = tmp_path_factory.mktemp("forged")
    return {px: make_release(root / str(px), px) for px in (STORED_PX, SMALLER_PX)}


@pytest.fixture
def work(releases: dict[int, Release], tmp_path: Path) -> Work:
    shutil.copytree(releases[STORED_PX].storage.root, tmp_path / "release")
    return Work(Folder(tmp_path / "release"))


@pytest.fixture
def smaller(releases: dict[int, Release], tmp_path: Path) -> Work:
    """Its pictures are re-encoded."""
    shutil.copytree(releases[SMALLER_PX].storage.root, tmp_path / "smaller")
    return Work(Folder(tmp_path / "smaller"))
