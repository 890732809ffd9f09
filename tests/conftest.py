"""Shared fixtures: the sample's server, and a workspace curated once from the bundled sample."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from bioclip.download.stage import plan_images
from bioclip.duplicates.stage import plan_duplicates
from bioclip.partitions import PartitionJob, PartitionResult, run_partition, write_stage
from bioclip.publishing.stage import plan_publish
from bioclip.releases.locating import open_release
from bioclip.releases.manifest import Release
from bioclip.sample.demo import demo_settings
from bioclip.sample.server import SampleServer
from bioclip.selection.stage import plan_release
from bioclip.settings import PipelineSettings
from bioclip.settings.loading import build_settings
from bioclip.shards.stage import plan_shards, release_version
from bioclip.sources.stage import plan_records
from bioclip.storage import Storage, open_workspace
from bioclip.taxonomy.stage import plan_backbones, plan_names
from tests.workspace_cache import MASTERS, WorkspaceCache, code_digest, remove_old_masters

# A deadline, and the check that examples are drawn fast, are timed assertions: they fail on a busy machine.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def sample_server() -> Iterator[SampleServer]:
    """The bundled sample's media server, faults included."""
    with SampleServer() as server:
        yield server


def sample_settings(server: SampleServer, workspace: Path | str, **sections: dict[str, Any]) -> PipelineSettings:
    """The demo's settings in another workspace, with sections merged in."""
    tree = demo_settings(server.address, workspace)
    for section, values in sections.items():
        tree[section] = {**tree.get(section, {}), **values}
    return build_settings(tree)


def run_jobs(storage: Storage, stage: str, jobs: Sequence[PartitionJob]) -> list[PartitionResult]:
    """Do a stage in this process and record it."""
    results = [run_partition(job) for job in jobs]
    write_stage(storage, stage, [result.manifest for result in results])
    return results


def curate_in_process(settings: PipelineSettings) -> dict[str, list[PartitionResult]]:
    """All data stages one after another, without Prefect and Dask."""
    storage = open_workspace(settings.workspace)
    stages = {
        "records": lambda: plan_records(storage, settings),
        "images": lambda: plan_images(storage, settings),
        "backbones": lambda: plan_backbones(storage, settings),
        "taxonomy": lambda: plan_names(storage, settings),
        "duplicates": lambda: plan_duplicates(storage, settings),
        "release": lambda: plan_release(storage, settings),
        "shards": lambda: plan_shards(storage, settings),
        "publish": lambda: plan_publish(storage, settings),
    }
    return {stage: run_jobs(storage, stage, plan()) for stage, plan in stages.items()}


class Curated:
    """A curated workspace: settings, storage, results by stage, and its release. Tests must not write into it."""

    def __init__(self, settings: PipelineSettings, results: dict[str, list[PartitionResult]] | None = None) -> None:
        self.settings = settings
        self.storage = open_workspace(settings.workspace)
        self.results = curate_in_process(settings) if results is None else results
        self.release: Release = open_release(self.storage, release_version(self.storage, settings))


@pytest.fixture(scope="session")
def workspace_cache() -> WorkspaceCache:
    """Workspaces shared by all processes that run tests of this state of the code."""
    remove_old_masters()
    return WorkspaceCache(MASTERS, code_digest())


@pytest.fixture(scope="session")
def copy_curated(
    workspace_cache: WorkspaceCache, sample_server: SampleServer, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Curated]:
    """Copy the sample, curated once with the sections of settings that go with `name`."""

    def copy(name: str, **sections: dict[str, Any]) -> Curated:
        folder = tmp_path_factory.mktemp(name) / "workspace"
        results = workspace_cache.copy(name, folder, lambda master: curate_in_process(sample_settings(sample_server, master, **sections)))
        return Curated(sample_settings(sample_server, folder, **sections), results)

    return copy


@pytest.fixture(scope="session")
def curated(copy_curated: Callable[..., Curated]) -> Curated:
    """The whole bundled sample, curated."""
    return copy_curated("curated")


@pytest.fixture
def write_archive(tmp_path: Path) -> Callable[..., Path]:
    """Write a zip of members named by keyword: `meta__xml="..."` becomes `meta.xml`."""

    def write(name: str = "archive.zip", **members: str | bytes) -> Path:
        path = tmp_path / name
        with zipfile.ZipFile(path, "w") as archive:
            for key, content in members.items():
                archive.writestr(key.replace("__", "."), content)
        return path

    return write
