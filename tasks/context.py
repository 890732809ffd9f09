"""Context shared by the tasks of a flow: settings, workspace, cluster and the progress display."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bioclip.settings import PipelineSettings
from bioclip.storage import Storage, open_workspace
from bioclip.storage import state_dir as storage_state_dir
from tasks.cluster import Cluster, open_cluster


@dataclass(frozen=True)
class RunContext:
    """Shared by the tasks of a flow; lives in the flow's process only."""

    settings: PipelineSettings
    storage: Storage
    state_dir: Path
    cluster: Cluster
    progress: Progress = field(repr=False)


def state_dir(settings: PipelineSettings) -> Path:
    """Local folder of the embedded services and temporary files."""
    return storage_state_dir(settings.workspace)


@contextmanager
def open_context(settings: PipelineSettings) -> Iterator[RunContext]:
    """Check that the workspace is writable, remove incomplete files of killed processes, and open the rest lazily.

    Raises StorageError if the workspace is not writable.
    """
    storage = open_workspace(settings.workspace)
    storage.check_writable()
    storage.sweep_partials()
    state = state_dir(settings)
    with open_cluster(settings.cluster, state / "dask") as cluster, _progress() as progress:
        yield RunContext(settings, storage, state, cluster, progress)


def add_bar(progress: Progress, name: str, total: int, completed: int, note: str = "") -> TaskID:
    """Add a row to the display; the clock of a row that is complete from the start stands still."""
    bar = progress.add_task(name, total=total, note=note)
    progress.update(bar, completed=completed)
    return bar


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description:<12}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(file=sys.stderr),
    )
