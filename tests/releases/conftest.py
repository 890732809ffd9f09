"""A workspace with two releases of the bundled sample: the second has samples that the first lacks, and lacks some that it has."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bioclip.partitions import PartitionResult
from bioclip.releases.aliases import point_latest
from bioclip.releases.locating import open_release
from bioclip.releases.manifest import Release
from bioclip.sample.server import SampleServer
from bioclip.settings import PipelineSettings
from bioclip.shards.stage import release_version
from bioclip.storage import Storage, open_workspace
from tests.conftest import Curated, plan_stages, run_jobs, sample_settings
from tests.workspace_cache import WorkspaceCache

SAMPLES_PER_SHARD = 30


def curate(settings: PipelineSettings, seed: int | None = None) -> tuple[Release, dict[str, list[PartitionResult]]]:
    """All data stages, the jobs of each in an order drawn by `seed`, and `latest` pointed at the release, as the flow does."""
    storage, done = open_workspace(settings.workspace), {}
    for stage, planned in plan_stages(storage, settings):
        jobs = list(planned)
        if seed is not None:
            random.Random(seed).shuffle(jobs)
        done[stage.name] = run_jobs(storage, stage.name, jobs)
    version = release_version(storage, settings)
    point_latest(storage, version)
    return open_release(storage, version), done


def without(path: Path, record_ids: Iterable[str]) -> dict[str, Any]:
    """The section `ingest` of settings that leave these records out."""
    path.write_text("\n".join(record_ids), encoding="utf-8")
    return {"takedown": str(path)}


@dataclass(frozen=True)
class Grown:
    """`first` lacks the samples `added`, `second` the samples `withdrawn`. Tests must not write into the workspace."""

    folder: Path
    storage: Storage
    first: Release
    second: Release
    added: frozenset[str]
    withdrawn: frozenset[str]
    digests_of_first: dict[str, str]
    settings_of: Callable[..., PipelineSettings]


@pytest.fixture(scope="session")
def grown(
    curated: Curated, sample_server: SampleServer, workspace_cache: WorkspaceCache, tmp_path_factory: pytest.TempPathFactory
) -> Grown:
    """Both releases in a workspace of this process."""
    folder = tmp_path_factory.mktemp("grown")
    trained = [row["record_id"] for row in curated.release.samples(["record_id", "split"]).to_pylist() if row["split"] == "train"]
    added, withdrawn = frozenset(trained[::50]), frozenset(trained[7::400])

    def settings_of(which: str, workspace: Path | str = folder / "workspace", **sections: dict[str, Any]) -> PipelineSettings:
        """Settings of the first or the second release in some workspace."""
        ingest = without(folder / f"{which}.txt", sorted(added if which == "first" else withdrawn))
        shards = {"samples_per_shard": SAMPLES_PER_SHARD} | sections.pop("shards", {})
        return sample_settings(sample_server, workspace, ingest=ingest, shards=shards, **sections)

    def grow(workspace: Path) -> tuple[str, str, dict[str, str]]:
        """Both releases in an empty folder: their versions, and the digests of the first before the second was made."""
        first, _ = curate(settings_of("first", workspace))
        digests = digests_below(first.storage)
        second, _ = curate(settings_of("second", workspace))
        return first.version, second.version, digests

    first, second, digests = workspace_cache.copy("grown", folder / "workspace", grow)
    storage = open_workspace(settings_of("first").workspace)
    return Grown(folder, storage, open_release(storage, first), open_release(storage, second), added, withdrawn, digests, settings_of)


def digests_below(storage: Storage, prefix: str = "") -> dict[str, str]:
    """SHA-256 of every file, except the outcomes of downloads, which contain times."""
    return {name: storage.digest(name)[0] for name in storage.list(prefix) if not name.startswith("outcomes/")}
