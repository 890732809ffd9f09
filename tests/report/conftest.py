"""Workspaces to report on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bioclip.partitions import run_partition
from bioclip.report import plan_report
from bioclip.settings import PipelineSettings

from .workspace import EVALUATION_ID, MODEL_ID, VERSION, Workspace, fill


@pytest.fixture
def new_workspace(tmp_path: Path) -> Callable[[], Workspace]:
    """An empty workspace to be filled by the test."""
    return lambda: Workspace(tmp_path / "workspace")


@pytest.fixture(scope="session")
def full_workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with everything a report can show; tests do not change it."""
    per_folder = {"fish": 20, "plankton": 6, "fungi": 16, "grocery": 8, "seedlings": 10}
    workspace = fill(Workspace(tmp_path_factory.mktemp("report") / "workspace"), per_folder)
    workspace.write()
    workspace.write_model()
    workspace.write_scores()
    shown = [row for row in workspace.samples if row["split"] == "val"]
    workspace.write_predictions((row["record_id"], row["species"], ("Zea mays", row["species"])[n % 2]) for n, row in enumerate(shown))
    return workspace


@pytest.fixture(scope="session")
def full_page(full_workspace: Workspace) -> str:
    """The page of the full workspace, with its model and scores."""
    (job,) = plan_report(full_workspace.storage, PipelineSettings(), VERSION, MODEL_ID, EVALUATION_ID)
    run_partition(job)
    return full_workspace.storage.read_bytes(job.arguments["name"]).decode()
