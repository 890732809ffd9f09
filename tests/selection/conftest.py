"""A copy of the curated sample in which the stages from `release` on can be run again under other rules."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from bioclip.accounting import Counts
from bioclip.publishing.stage import plan_publish
from bioclip.releases.locating import open_release
from bioclip.releases.manifest import Release
from bioclip.selection.stage import plan_release
from bioclip.settings import PipelineSettings, ReleaseSettings
from bioclip.shards.stage import plan_shards, release_version
from bioclip.storage import Storage
from tests.conftest import Curated, run_jobs


class Workspace:
    """The workspace; every method takes the changes of `release` settings."""

    def __init__(self, curated: Curated, root: Path) -> None:
        shutil.copytree(curated.storage.root, root)
        self.storage = Storage(str(root))
        self.base = curated.settings.model_copy(
            update={"workspace": curated.settings.workspace.model_copy(update={"uri": self.storage.root})}
        )

    def settings(self, **changes: Any) -> PipelineSettings:
        release = ReleaseSettings.model_validate(self.base.release.model_dump() | changes)
        return self.base.model_copy(update={"release": release})

    def assign(self, **changes: Any) -> tuple[list[dict[str, Any]], Counts]:
        """Rows of samples.parquet and the counts of the stage."""
        [result] = run_jobs(self.storage, "release", plan_release(self.storage, self.settings(**changes)))
        return pq.read_table(self.storage.uri("splits/samples.parquet")).to_pylist(), result.manifest.counts

    def publish(self, **changes: Any) -> Release:
        """The release that the changed settings make."""
        settings = self.settings(**changes)
        self.assign(**changes)
        for stage, plan in (("shards", plan_shards), ("publish", plan_publish)):
            run_jobs(self.storage, stage, plan(self.storage, settings))
        return open_release(self.storage, release_version(self.storage, settings))


@pytest.fixture(scope="module")
def workspace(curated: Curated, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(curated, tmp_path_factory.mktemp("rules") / "workspace")
