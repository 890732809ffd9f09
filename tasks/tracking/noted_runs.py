"""The note in a result's folder that states which MLflow run has everything of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol

from bioclip import layout
from bioclip.digests import readable_json
from bioclip.settings import PipelineSettings
from bioclip.storage import Storage
from tasks.tracking.client import TrackedRun, tracking_uri
from tasks.tracking.failures import without_password


class ResultPlace(Protocol):
    """Where results are kept and MLflow is found; the context of a flow is one."""

    @property
    def settings(self) -> PipelineSettings:
        """All settings."""

    @property
    def storage(self) -> Storage:
        """The workspace."""

    @property
    def state_dir(self) -> Path:
        """Local folder of MLflow's own files."""


def noted_run(context: ResultPlace, folder: str) -> TrackedRun | None:
    """The complete run of the result in `folder`, None if there is none in the MLflow of the settings."""
    name = f"{folder}/{layout.TRACKING}"
    if not context.storage.exists(name):
        return None
    noted = TrackedRun(**json.loads(context.storage.read_bytes(name)))
    return noted if noted.uri == without_password(tracking_uri(context.settings.tracking, context.state_dir)) else None


def note_run(context: ResultPlace, folder: str, run: TrackedRun) -> None:
    """State that `run` is complete."""
    context.storage.write_bytes(f"{folder}/{layout.TRACKING}", readable_json(run.to_dict()))
