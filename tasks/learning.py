"""Training and evaluation as Prefect tasks: each runs in a separate process, is monitored, and is logged to MLflow."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_link_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import get_run_context
from rich.progress import TaskID

from bioclip import layout
from bioclip.digests import readable_json
from bioclip.errors import EvaluationError, TrainingError
from bioclip.evaluation import command as evaluation_command
from bioclip.evaluation import find_evaluation, load_scores, planned_evaluation_id
from bioclip.models.reference import ModelRef
from bioclip.models.trained import ModelInfo, read_model_info
from bioclip.releases import Release, open_release
from bioclip.settings import meaningful
from bioclip.settings.loading import to_yaml
from bioclip.storage import Storage
from bioclip.training import command as training_command
from bioclip.training import environment as training_environment
from bioclip.training import find_model, planned_model_id
from tasks.context import RunContext, add_bar
from tasks.processes import run_resumable, run_watched, s3_credentials
from tasks.tracking import DatasetInput, TrackedRun, Tracker


@dataclass(frozen=True)
class ModelSummary:
    """A trained model; `reused` if an earlier run trained it."""

    model_id: str
    uri: str
    weights_sha256: str
    loss_first: float
    loss_last: float
    num_parameters: int
    num_steps: int
    reused: bool
    tracking: TrackedRun | None
    split: str
    num_training_samples: int


@dataclass(frozen=True)
class EvaluationSummary:
    """A scored model; `reused` if an earlier run scored it."""

    evaluation_id: str
    uri: str
    reused: bool
    tracking: TrackedRun | None


@task(name="train", cache_policy=NO_CACHE, persist_result=False)
def train_model(context: RunContext, version: str) -> ModelSummary:
    """Train on a release unless the model exists; raises TrainingError with the trainer's message."""
    settings, storage = context.settings, context.storage
    release = open_release(storage, version)
    model_id = planned_model_id(settings.training, release, storage)
    info = find_model(storage, model_id)
    bar = add_bar(context.progress, "train", settings.training.num_steps, settings.training.num_steps if info else 0)
    reused = info is not None
    if info is None:

        def show(line: dict[str, Any]) -> None:
            if "event" in line:
                context.progress.update(bar, note=_note(line))
                return
            note = f"loss {line['loss']:.3f}, {line['samples_per_second']:.0f} images/s"
            context.progress.update(bar, completed=line["step"], note=note)

        identity = f"training-{model_id}"
        _run(context, identity, lambda path, log: training_command(path, version, log, settings.training), show, TrainingError)
        info = read_model_info(storage, model_id)
        context.progress.update(bar, completed=settings.training.num_steps)
    tracking = _track(context, bar, layout.model_dir(model_id), lambda tracker: _track_model(tracker, context, info, release))
    return ModelSummary(
        model_id=model_id,
        uri=storage.uri(layout.model_dir(model_id)),
        weights_sha256=info.weights_sha256,
        loss_first=info.loss_first,
        loss_last=info.loss_last,
        num_parameters=info.num_parameters,
        num_steps=info.num_steps,
        reused=reused,
        tracking=tracking,
        split=info.split,
        num_training_samples=info.num_training_samples,
    )


@task(name="evaluate", cache_policy=NO_CACHE, persist_result=False)
def evaluate_model(context: RunContext, version: str, model: str) -> EvaluationSummary:
    """Score a model, named as `ModelRef.parse` takes it, on a release unless its scores exist; raises EvaluationError with the evaluator's
    message."""
    settings, storage = context.settings, context.storage
    release, ref = open_release(storage, version), ModelRef.parse(model)
    if ref.kind == "workspace":
        read_model_info(storage, ref.name)
    evaluation_id = planned_evaluation_id(settings.evaluation, ref, storage, release.digest)
    reused = find_evaluation(storage, evaluation_id) is not None
    bar = add_bar(context.progress, "evaluate", 1, int(reused))
    if not reused:

        def show(line: dict[str, Any]) -> None:
            if line["event"] == "encoded":
                note = f"encoding {line['split']}, {line['images_per_second']:.0f} images/s"
                context.progress.update(bar, completed=line["done"], total=line["num_images"], note=note)
            else:
                context.progress.update(bar, note=f"scored {line['benchmark']}")

        identity = f"evaluation-{evaluation_id}"
        _run(context, identity, lambda path, log: evaluation_command(path, version, model, log), show, EvaluationError)
        context.progress.update(bar, completed=1, total=1)
    folder = layout.evaluation_dir(evaluation_id)
    tracking = _track(context, bar, folder, lambda tracker: _track_evaluation(tracker, context, release, evaluation_id))
    return EvaluationSummary(evaluation_id, storage.uri(folder), reused, tracking)


def _run(
    context: RunContext,
    identity: str,
    command: Callable[[Path, Path], list[str]],
    show: Callable[[dict[str, Any]], None],
    error: type[TrainingError] | type[EvaluationError],
) -> None:
    """Run a command with a separate settings file, so that concurrent runs, even with equal identities, do not write the same file."""
    logs = context.state_dir / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    settings_path = logs / f"{identity}-{os.getpid()}.yaml"
    settings_path.write_text(to_yaml(context.settings), encoding="utf-8")
    log_path = settings_path.with_suffix(".jsonl")
    environment = training_environment(context.settings.training) | s3_credentials(context.settings)
    if error is TrainingError:
        run_resumable(command(settings_path, log_path), environment, log_path, show, error, context.settings.training.stop_grace_s)
    else:
        run_watched(command(settings_path, log_path), environment, log_path, show, error)
    settings_path.unlink()


def _track(context: RunContext, bar: TaskID, folder: str, log: Callable[[Tracker], TrackedRun]) -> TrackedRun | None:
    """The MLflow run of a finished result: the recorded one, else a new one, which is then recorded."""
    tracking = context.settings.tracking
    if not tracking.enabled:
        return None
    name = f"{folder}/{layout.TRACKING}"
    if context.storage.exists(name):
        noted = json.loads(context.storage.read_bytes(name))
        if noted["uri"] == _tracking_uri(context):
            return _linked(TrackedRun(**noted))
    context.progress.update(bar, note="logging to MLflow")
    run = log(Tracker(tracking, context.state_dir))
    context.progress.update(bar, note="")
    context.storage.write_bytes(name, readable_json(run.to_dict()))
    return _linked(run)


def _linked(run: TrackedRun) -> TrackedRun:
    create_link_artifact(run.link, link_text=f"MLflow run {run.run_id}", key="mlflow-run", description="This result in MLflow")
    return run


def _tracking_uri(context: RunContext) -> str:
    return context.settings.tracking.uri or f"sqlite:///{context.state_dir / 'mlflow.db'}"


def _prefect_tags() -> dict[str, str]:
    run = getattr(get_run_context(), "task_run", None)
    return {
        "prefect.flow_run_id": str(getattr(run, "flow_run_id", "") or ""),
        "prefect.task_run_name": str(getattr(run, "name", "") or ""),
    }


def _note(line: Mapping[str, Any]) -> str:
    """One sentence for a line of the trainer's log that is not a step."""
    if line["event"] == "captions":
        lacking = ", ".join(f"{number:,} without {name}" for name, number in line["without"].items())
        return f"of {line['num_samples']:,} samples {lacking}; {line['fallback']} used instead"
    if line["event"] == "incomplete":
        return f"stream {line['stream'] + 1}: {line['num_incomplete']:,} samples without an image or a caption are left out"
    if line["event"] == "environment":
        changed = ", ".join(f"{name} {before} -> {now}" for name, (before, now) in line["changed"].items())
        return f"resumed at step {line['step']} in another environment: {changed}"
    return _note_of_state(line)


def _note_of_state(line: Mapping[str, Any]) -> str:
    """One sentence for a line about checkpoints, divergence and probes."""
    if line["event"] == "checkpoint":
        return f"continuing from step {line['step']}: {'; '.join(line['rejected'])}"
    if line["event"] in {"divergence", "spike"}:
        return f"{line['event']} at step {line['step']}: {line['metric']} {line['value']}; samples listed in {line['samples']}"
    if line["event"] == "rollback":
        return (
            f"went back to step {line['step']}; batches left out: {', '.join(f'{first} to {stop - 1}' for first, stop in line['skipped'])}"
        )
    if line["event"] == "stopped":
        return f"{line['message']} Starting again"
    return ", ".join(f"{name} {value:.4g}" for name, value in line.items() if name not in {"event", "time"})


def _dataset(context: RunContext, release: Release, part: str = "") -> DatasetInput:
    return DatasetInput(f"{context.settings.release.name}-{release.version}{part}", release.digest, release.storage.uri())


def _track_model(tracker: Tracker, context: RunContext, info: ModelInfo, release: Release) -> TrackedRun:
    run = tracker.start(
        name=f"train-{info.model_id}",
        key=f"model:{info.key}",
        tags={**_prefect_tags(), "treeoflife.model_id": info.model_id, "treeoflife.model_uri": context.storage.uri(info.folder)}
        | {"treeoflife.release_digest": release.digest, "treeoflife.weights_sha256": info.weights_sha256}
        | {"treeoflife.split": info.split},
        params={"training": info.settings | {"split": info.split}, "release": release.version, "num_parameters": info.num_parameters}
        | {"num_training_samples": info.num_training_samples},
        dataset=_dataset(context, release, "" if info.split == "train" else f"-{info.split}"),
    )
    lines = [json.loads(line) for line in context.storage.read_bytes(f"{info.folder}/{layout.TRAINING_METRICS}").splitlines()]
    tracker.log_metrics(run, ((line["step"], _numbers(line)) for line in lines))
    ends = {"loss_first": info.loss_first, "loss_last": info.loss_last}
    tracker.log_metrics(run, [(info.num_steps, ends | {f"samples_without.{name}": num for name, num in info.samples_without.items()})])
    _log_folder(tracker, run, context.storage, info.folder)
    tracker.finish(run)
    return run


def _track_evaluation(tracker: Tracker, context: RunContext, release: Release, evaluation_id: str) -> TrackedRun:
    info = load_scores(context.storage, evaluation_id).info
    model = info.model_id or info.model
    run = tracker.start(
        name=f"evaluate-{evaluation_id}",
        key=f"evaluation:{evaluation_id}",
        tags={**_prefect_tags(), "treeoflife.evaluation_id": evaluation_id, "treeoflife.model_id": model}
        | {"treeoflife.model_digest": info.model_digest},
        params={"evaluation": meaningful(context.settings.evaluation), "release": release.version, "model_id": model},
        dataset=_dataset(context, release),
    )
    folder = layout.evaluation_dir(evaluation_id)
    tracker.log_metrics(run, [(0, headline_metrics(context.storage, evaluation_id))])
    _log_folder(tracker, run, context.storage, folder)
    tracker.finish(run)
    return run


def _numbers(line: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in line.items() if name != "step" and isinstance(value, int | float)}


def _log_folder(tracker: Tracker, run: TrackedRun, storage: Storage, folder: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        for name in storage.list(folder):
            if not name.endswith(layout.TRACKING) and "/checkpoints/" not in name:
                (Path(scratch) / name.rsplit("/", 1)[-1]).write_bytes(storage.read_bytes(name))
        tracker.log_files(run, Path(scratch))


def headline_metrics(storage: Storage, evaluation_id: str) -> dict[str, float]:
    """Every score as `benchmark.task….metric`, with its bounds, chance level and majority baseline, for MLflow."""
    metrics: dict[str, float] = {}
    for row in load_scores(storage, evaluation_id).rows():
        known = dict(row["parameters"])
        shown = [known.pop("caption_type", ""), known.pop("rank", ""), f"{known.pop('shots')}shot" if "shots" in known else ""]
        others = [f"{name}-{value}" for name, value in sorted(known.items())]
        name = ".".join(part for part in [row["benchmark"], row["task"], *map(str, shown), *others, row["metric"]] if part)
        metrics[name] = row["value"]
        for bound in ("ci_low", "ci_high", "chance", "majority"):
            if row[bound] is not None:
                metrics[f"{name}.{bound}"] = row[bound]
    return metrics
