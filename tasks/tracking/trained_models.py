"""The MLflow run of a training: how it is named and described, and what it gets once the model is finished."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bioclip import layout
from bioclip.models.card import describe_hardware, write_card
from bioclip.models.trained import ModelInfo
from bioclip.releases import Release
from bioclip.settings import TrainingSettings, meaningful
from bioclip.storage import Storage
from tasks.context import RunContext
from tasks.tracking.client import DatasetInput, OpenRun, RunPlan, Tracker
from tasks.tracking.log_lines import LineQueue, MetricPoint, read_training_line
from tasks.tracking.loss_picture import draw_losses
from tasks.tracking.prefect_runs import describe_run, prefect_tags
from tasks.tracking.registered_models import log_model

_LOSS_PICTURE = "loss.png"


def dataset_input(context: RunContext, release: Release, part: str = "") -> DatasetInput:
    """The release as MLflow's dataset."""
    profile = {name: split["num_samples"] for name, split in release.manifest["splits"].items()}
    return DatasetInput(f"{context.settings.release.name}-{release.version}{part}", release.digest, release.storage.uri(), profile)


def plan_training(context: RunContext, release: Release, key: str, start_ms: int) -> RunPlan:
    """The run of the model of `key`, a digest whose first twelve digits are the model's id."""
    settings, model_id = context.settings.training, key[:12]
    uri = context.storage.uri(layout.model_dir(model_id))
    tags = {
        **prefect_tags(),
        "mlflow.source.name": "treeoflife train",
        "mlflow.source.type": "LOCAL",
        "mlflow.note.content": describe_run(f"Model `{model_id}`, trained on release `{release.version}`.", {"Folder": uri}),
        "treeoflife.model_id": model_id,
        "treeoflife.model_uri": uri,
        "treeoflife.release_digest": release.digest,
        "treeoflife.split": settings.split,
    }
    params = {"training": meaningful(settings) | {"split": settings.split}, "release": release.version}
    dataset = dataset_input(context, release, "" if settings.split == "train" else f"-{settings.split}")
    return RunPlan(f"train-{model_id}", f"model:{key}", start_ms, tags, params, dataset, "training")


def complete_training(
    tracker: Tracker, run: OpenRun, storage: Storage, info: ModelInfo, settings: TrainingSettings, queue: LineQueue, registered_model: str
) -> None:
    """Log what only the finished model has: steps that no log has, losses, versions, hours, pictures, files, and the model itself."""
    rows = [json.loads(line) for line in storage.read_bytes(f"{info.folder}/{layout.TRAINING_METRICS}").splitlines()]
    _log_missing_steps(tracker, run, rows, settings.log_every_steps)
    hours = measure_hours(queue)
    tracker.log_params(run, {"num_parameters": info.num_parameters, "num_training_samples": info.num_training_samples})
    ends = {"loss_first": info.loss_first, "loss_last": info.loss_last} | ({} if hours is None else {"hours": hours})
    ends |= {f"samples_without_{name}": number for name, number in info.samples_without.items()}
    tracker.log_metrics(run, {f"summary/{name}": value for name, value in ends.items()}, info.num_steps, _end_ms(run, queue))
    environment = {f"treeoflife.{name}": str(value) for name, value in info.environment.items()}
    hardware = {"treeoflife.hardware": describe_hardware(info.environment), "treeoflife.weights_sha256": info.weights_sha256}
    tracker.set_tags(run, environment | hardware)
    with tempfile.TemporaryDirectory() as scratch:
        files, model = Path(scratch) / "files", Path(scratch) / "model"
        copy_folder(storage, info.folder, files)
        card = write_card(info, storage.uri(info.folder), hours)
        (files / layout.CARD).write_text(card, encoding="utf-8")
        draw_losses(rows, f"Model {info.model_id}: {info.num_steps:,} steps, last loss {info.loss_last:.3f}", files / _LOSS_PICTURE)
        model.mkdir()
        for name in (layout.MODEL_CONFIG, layout.MODEL_WEIGHTS, layout.CARD, layout.MODEL_INFO):
            (files / name).rename(model / name)
        for name in (layout.CARD, layout.MODEL_INFO):
            (files / name).write_bytes((model / name).read_bytes())
        tracker.log_files(run, files)
        log_model(tracker, run, info, model, registered_model)


def copy_folder(storage: Storage, folder: str, target: Path) -> None:
    """Copy the finished files of a workspace folder to `target`."""
    target.mkdir()
    for name in storage.list(folder):
        if not name.endswith(layout.TRACKING) and name.rsplit("/", 1)[0] == folder:
            with storage.reader(name) as source, (target / name.rsplit("/", 1)[-1]).open("wb") as sink:
                while block := source.read(1 << 24):
                    sink.write(block)


def measure_hours(queue: LineQueue) -> float | None:
    """Hours between the first and the last line of each log, summed over the logs; None without two lines."""
    seconds = 0.0
    for path in queue.paths:
        times = [point.time_ms / 1000 for point in LineQueue(queue.read, [path]).remaining()]
        seconds += times[-1] - times[0] if times else 0.0
    return seconds / 3600 if seconds else None


def _log_missing_steps(tracker: Tracker, run: OpenRun, rows: list[dict[str, Any]], every: int) -> None:
    """Log the steps that the log would have had but that MLflow lacks, for example after a resumption on another machine."""
    last = rows[-1]["step"] if rows else 0
    known = tracker.steps(run, "loss")
    missing = [row for row in rows if (row["step"] % every == 0 or row["step"] == last) and row["step"] not in known]
    points = [point for row in missing if (point := _timed(row, run.start_ms)) is not None]
    run.last_steps["loss"] = -1
    tracker.log_points(run, points)


def _timed(row: Mapping[str, Any], time_ms: int) -> MetricPoint | None:
    return read_training_line({**row, "time": time_ms / 1000})


def _end_ms(run: OpenRun, queue: LineQueue) -> int:
    return max((point.time_ms for point in LineQueue(queue.read, queue.paths).remaining()), default=run.start_ms)
