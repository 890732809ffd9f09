"""Training on a machine that has the `train` extra only: no Prefect, no MLflow, no Dask."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bioclip import layout
from bioclip.errors import TrainingError
from bioclip.models.trained import ModelInfo
from bioclip.releases import open_release, resolve_release
from bioclip.settings import PipelineSettings
from bioclip.settings.loading import to_yaml
from bioclip.storage import open_workspace
from bioclip.training import command, environment, find_model, planned_model_id
from flows.commands.answers import Answer
from tasks.processes import run_watched, s3_credentials


def train_without_flow(settings: PipelineSettings, release: str) -> Answer:
    """Train in a separate process with a progress bar; raises TrainingError with the trainer's message."""
    storage = open_workspace(settings.workspace)
    storage.check_writable()
    version = resolve_release(storage, release)
    model_id = planned_model_id(settings.training, open_release(storage, version), storage)
    reused = find_model(storage, model_id) is not None
    if not reused:
        _run_trainer(settings, version)
    info = find_model(storage, model_id)
    assert info is not None, "the trainer writes the model's description last"
    return _answer(info, storage.uri(layout.model_dir(model_id)), reused)


def _run_trainer(settings: PipelineSettings, version: str) -> None:
    with tempfile.TemporaryDirectory(prefix="treeoflife-") as scratch, _progress() as progress:
        path, log = Path(scratch, "training.yaml"), Path(scratch, "training.jsonl")
        path.write_text(to_yaml(settings), encoding="utf-8")
        bar = progress.add_task("train", total=settings.training.num_steps, note="")

        def show(line: dict[str, Any]) -> None:
            if "step" in line and "loss" in line:
                note = f"loss {line['loss']:.3f}, {line['samples_per_second']:.0f} pairs/s"
                progress.update(bar, completed=line["step"], note=note)

        variables = environment(settings.training) | s3_credentials(settings)
        arguments, grace_s = command(path, version, log, settings.training), settings.training.stop_grace_s
        run_watched(arguments, {**os.environ, **variables}, log, show, TrainingError, grace_s)
        progress.update(bar, completed=settings.training.num_steps)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=32), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, TextColumn("{task.fields[note]}"), console=Console(file=sys.stderr))


def _answer(info: ModelInfo, uri: str, reused: bool) -> Answer:
    model = {"model_id": info.model_id, "uri": uri, "weights_sha256": info.weights_sha256, "reused": reused}
    numbers = {"loss_first": info.loss_first, "loss_last": info.loss_last, "num_steps": info.num_steps}
    text = [
        f"model    {info.model_id}" + (" (reused)" if reused else ""),
        f"loss     {info.loss_first:.3f} first, {info.loss_last:.3f} last, in {info.num_steps:,} steps",
        f"folder   {uri}",
    ]
    return Answer({"model": model | numbers | {"num_parameters": info.num_parameters}}, text)
