"""Training and evaluation as Prefect tasks: each runs in a separate process, is monitored, and is logged to MLflow while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from bioclip import layout
from bioclip.errors import EvaluationError, TrainingError
from bioclip.evaluation import command as evaluation_command
from bioclip.evaluation import find_evaluation, planned_evaluation_id
from bioclip.models.reference import ModelRef
from bioclip.models.text_context import describe_cut_texts
from bioclip.models.trained import ModelInfo, read_model_info
from bioclip.releases import open_release
from bioclip.settings.loading import to_yaml
from bioclip.training import command as training_command
from bioclip.training import environment as training_environment
from bioclip.training import find_model
from bioclip.training.runs import training_key
from tasks.context import RunContext, add_bar
from tasks.processes import run_resumable, run_watched, s3_credentials
from tasks.tracking.client import TrackedRun
from tasks.tracking.evaluations import complete_evaluation, plan_evaluation
from tasks.tracking.log_lines import read_evaluation_line, read_training_line
from tasks.tracking.results import TrackedResult
from tasks.tracking.trained_models import complete_training, plan_training


@dataclass(frozen=True)
class ModelSummary:
    """A trained model; `reused` if an earlier run trained it. `tracking` is None where MLflow is off or does not have it yet."""

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
    settings, storage = context.settings.training, context.storage
    release = open_release(storage, version)
    key = training_key(settings, release, storage)
    model_id = key[:12]
    info = find_model(storage, model_id)
    reused = info is not None
    bar = add_bar(context.progress, "train", settings.num_steps, settings.num_steps if reused else 0)

    def show(line: dict[str, Any]) -> None:
        if "event" in line:
            context.progress.update(bar, note=_note(line))
            return
        note = f"loss {line['loss']:.3f}, {line['samples_per_second']:.0f} images/s"
        context.progress.update(bar, completed=line["step"], note=note)

    result = TrackedResult(context, f"training-{model_id}", f"model {model_id}", layout.model_dir(model_id), read_training_line)
    with result.follow(lambda start_ms: plan_training(context, release, key, start_ms)):
        if info is None:
            _run(context, result, lambda path, log: training_command(path, version, log, settings), show, TrainingError)
            info = read_model_info(storage, model_id)
        trained, queue, registered_model = info, result.queue, context.settings.tracking.registered_model
        result.complete(lambda tracker, run: complete_training(tracker, run, storage, trained, settings, queue, registered_model))
    context.progress.update(bar, completed=settings.num_steps, note="")
    return _summarise(context, info, reused, result.tracked)


def _summarise(context: RunContext, info: ModelInfo, reused: bool, tracking: TrackedRun | None) -> ModelSummary:
    return ModelSummary(
        model_id=info.model_id,
        uri=context.storage.uri(info.folder),
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
    folder, reused = layout.evaluation_dir(evaluation_id), find_evaluation(storage, evaluation_id) is not None
    bar = add_bar(context.progress, "evaluate", 1, int(reused))

    def show(line: dict[str, Any]) -> None:
        if line["event"] == "encoded":
            note = f"encoding {line['split']}, {line['images_per_second']:.0f} images/s"
            context.progress.update(bar, completed=line["done"], total=line["num_images"], note=note)
        else:
            context.progress.update(bar, note=f"scored {line['benchmark']}")

    result = TrackedResult(context, f"evaluation-{evaluation_id}", f"evaluation {evaluation_id}", folder, read_evaluation_line)
    with result.follow(lambda start_ms: plan_evaluation(context, release, ref, evaluation_id, start_ms)):
        if not reused:
            _run(context, result, lambda path, log: evaluation_command(path, version, model, log), show, EvaluationError)
        result.complete(lambda tracker, run: complete_evaluation(tracker, run, context, release, evaluation_id))
    context.progress.update(bar, completed=1, total=1, note="")
    return EvaluationSummary(evaluation_id, storage.uri(folder), reused, result.tracked)


def _run(
    context: RunContext,
    result: TrackedResult,
    command: Callable[[Path, Path], list[str]],
    show: Callable[[dict[str, Any]], None],
    error: type[TrainingError] | type[EvaluationError],
) -> None:
    """Run a command with a settings file and a log that no other run writes, even one of equal identity."""
    log_path = result.create_log()
    settings_path = log_path.with_suffix(".yaml")
    settings_path.write_text(to_yaml(context.settings), encoding="utf-8")
    training = context.settings.training
    environment = training_environment(training) | s3_credentials(context.settings)
    arguments = command(settings_path, log_path)
    try:
        if error is TrainingError:
            run_resumable(arguments, environment, log_path, show, error, training.stop_grace_s, result.on_poll)
        else:
            run_watched(arguments, environment, log_path, show, error, on_poll=result.on_poll)
    finally:
        settings_path.unlink()


def _note(line: Mapping[str, Any]) -> str:
    """One sentence for a line of the trainer's log that is not a step."""
    if line["event"] == "captions":
        lacking = ", ".join(f"{number:,} without {name}" for name, number in line["without"].items())
        return f"of {line['num_samples']:,} samples {lacking}; {line['fallback']} used instead"
    if line["event"] == "cut_captions":
        return describe_cut_texts(line["counts"])
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
