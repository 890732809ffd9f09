"""Shared fixtures: the sample's server, and a workspace curated once from the bundled sample."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from bioclip.partitions import PartitionJob, PartitionResult, run_partition, write_stage
from bioclip.releases.locating import open_release
from bioclip.releases.manifest import Release
from bioclip.sample.demo import demo_settings
from bioclip.sample.server import SampleServer
from bioclip.settings import PipelineSettings
from bioclip.settings.loading import build_settings
from bioclip.shards.stage import release_version
from bioclip.stages import Stage, curation_stages
from bioclip.storage import Storage, open_workspace
from tests.shared_prefect import prefect_environment
from tests.workspace_cache import MASTERS, WorkspaceCache, code_digest, remove_old_masters

# A deadline, and the check that examples are drawn fast, are timed assertions: they fail on a busy machine.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the slow tests of a module in one process, so that their fixtures, of minutes at times, are made once.

    Modules that share a server name a group of their own.
    """
    for item in items:
        is_slow = any(item.get_closest_marker(name) for name in ("slow", "service", "nightly"))
        if is_slow and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


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
    return {stage.name: run_jobs(storage, stage.name, jobs) for stage, jobs in plan_stages(storage, settings)}


def plan_stages(storage: Storage, settings: PipelineSettings) -> Iterator[tuple[Stage, Sequence[PartitionJob]]]:
    """The data stages with their jobs, each planned when the ones before it are done."""
    for stage in curation_stages(settings):
        jobs = stage.load_plan()(storage, settings)
        if jobs or not stage.may_be_empty:
            yield stage, jobs


class Curated:
    """A curated workspace: settings, storage, results by stage, and its release. Tests must not write into it."""

    def __init__(self, settings: PipelineSettings, results: dict[str, list[PartitionResult]] | None = None) -> None:
        self.settings = settings
        self.storage = open_workspace(settings.workspace)
        self.results = curate_in_process(settings) if results is None else results
        self.release: Release = open_release(self.storage, release_version(self.storage, settings))


@pytest.fixture(scope="session")
def shared_prefect(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of commands that use the one Prefect server of this test run, shared by all of its processes."""
    base = tmp_path_factory.getbasetemp()
    return prefect_environment((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared-prefect")


@pytest.fixture
def use_shared_prefect(shared_prefect: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands that the test starts, in this process or in another, use the shared Prefect server."""
    for name, value in shared_prefect.items():
        monkeypatch.setenv(name, value)
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: shared_prefect["PREFECT_API_URL"]}):  # an imported Prefect no longer reads its environment
        yield


@pytest.fixture(scope="session")
def workspace_cache() -> WorkspaceCache:
    """Workspaces shared by all processes that run tests of this state of the code."""
    remove_old_masters()
    return WorkspaceCache(MASTERS, code_digest())


@pytest.fixture(scope="session")
def copy_curated(
    workspace_cache: WorkspaceCache, sample_server: SampleServer, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Curated]:
    """Copy the sample, curated once with the sections of settings that go with `name`.

    It is curated from a server of its own: one that was asked before is busy no more, and the report shows it.
    """

    def copy(name: str, **sections: dict[str, Any]) -> Curated:
        def make(master: Path) -> dict[str, list[PartitionResult]]:
            with SampleServer() as server:
                return curate_in_process(sample_settings(server, master, **sections))

        folder = tmp_path_factory.mktemp(name) / "workspace"
        results = workspace_cache.copy(name, folder, make)
        return Curated(sample_settings(sample_server, folder, **sections), results)

    return copy


@pytest.fixture(scope="session")
def curated(copy_curated: Callable[..., Curated]) -> Curated:
    """The whole bundled sample, curated."""
    return copy_curated("curated")


@pytest.fixture(scope="session")
def unconfirmed(copy_curated: Callable[..., Curated]) -> Curated:
    """The sample, with near pairs by pHash alone: it has near duplicates, label conflicts and leaks that a confirmation would clear."""
    by_phash = {"min_correlation": -1.0}
    return copy_curated("unconfirmed", duplicates=by_phash, leakage=by_phash)


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
