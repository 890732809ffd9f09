"""The evaluations of a grid in MLflow: one run each, with its metrics on the model and on the dataset."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bioclip import layout
from bioclip.digests import digest_value
from bioclip.errors import TrackingError
from bioclip.evaluation import EvaluationInfo, headlines, load_scores
from bioclip.evaluation.grid.cells import CellResult, GridModel, Target
from bioclip.settings import PipelineSettings, meaningful
from bioclip.storage import Storage, state_dir
from tasks.tracking.client import DatasetInput, RunPlan, TrackedRun, Tracker
from tasks.tracking.evaluations import bounded_metrics, score_metrics, scores_markdown
from tasks.tracking.noted_runs import note_run, noted_run
from tasks.tracking.trained_models import copy_folder

_READY = "READY"


@dataclass(frozen=True)
class GridContext:
    """Where results and their notes are."""

    settings: PipelineSettings
    storage: Storage
    state_dir: Path


def log_grid(settings: PipelineSettings, results: Sequence[CellResult], storage: Storage) -> list[str]:
    """Log every finished evaluation that the MLflow of the settings does not have yet.

    Returns the sentences to print: the address of each run, or why MLflow has none of them; the scores are in the workspace in any case.
    """
    context = GridContext(settings, storage, state_dir(settings.workspace))
    waiting = [one for one in results if one.info and noted_run(context, layout.evaluation_dir(one.info.evaluation_id)) is None]
    if not settings.tracking.enabled or not waiting:
        return []
    try:
        tracker = Tracker(settings.tracking, context.state_dir)
        runs = [_log(tracker, context, one, info) for one in waiting if (info := one.info)]
    except TrackingError as error:
        return [f"MLflow has not all of these evaluations: {error} The same command logs them."]
    return [f"MLflow run of {one.model.label} on {one.target.name}: {run.link}" for one, run in zip(waiting, runs, strict=True)]


def _log(tracker: Tracker, context: GridContext, result: CellResult, info: EvaluationInfo) -> TrackedRun:
    folder, started_ms = layout.evaluation_dir(info.evaluation_id), round(1000 * time.time())
    dataset = _dataset(result.target, context.storage)
    scores = load_scores(context.storage, info.evaluation_id)
    sentence = f"Scores of model `{result.model.label}` on `{result.target.name}`.\n\n{scores_markdown(headlines(scores))}"
    tags = {
        "mlflow.source.name": "treeoflife evaluate",
        "mlflow.source.type": "LOCAL",
        "mlflow.note.content": f"{sentence}\n\n- Folder: `{context.storage.uri(folder)}`",
        "treeoflife.evaluation_id": info.evaluation_id,
        "treeoflife.model_id": result.model.label,
        "treeoflife.model_digest": info.model_digest,
        "treeoflife.leaks": result.leaks.status,
    }
    params = {"evaluation": meaningful(context.settings.evaluation), "benchmark": result.target.name, "model_id": result.model.label}
    model = _logged_model(tracker, context, result.model)
    plan = RunPlan(
        f"evaluate-{info.evaluation_id}", f"evaluation:{info.evaluation_id}", started_ms, tags, params, dataset, "evaluation", model
    )
    run = tracker.open_run(plan)
    tracker.log_metrics(run, bounded_metrics(score_metrics(context.storage, info.evaluation_id)), 0, run.start_ms, dataset)
    with tempfile.TemporaryDirectory() as scratch:
        copy_folder(context.storage, folder, Path(scratch) / "files")
        tracker.log_files(run, Path(scratch) / "files")
    tracker.finish(run)
    note_run(context, folder, run.tracked)
    return run.tracked


def _dataset(target: Target, storage: Storage) -> DatasetInput:
    if target.release is not None:
        profile = {name: split["num_samples"] for name, split in target.release.manifest["splits"].items()}
        return DatasetInput(target.release.version, target.release.digest, target.release.storage.uri(), profile)
    sets = {one.images.revision: one.images for one in target.benchmarks}
    root = next(iter(sets.values())).files.storage
    return DatasetInput(target.name, digest_value(sorted(sets)), root.uri(), {one.name: len(one.labels) for one in target.benchmarks[:8]})


def _logged_model(tracker: Tracker, context: GridContext, model: GridModel) -> str:
    """Id of the model in MLflow: of the run that trained it, or an entry by its digest for a model of elsewhere."""
    trained = noted_run(context, layout.model_dir(model.ref.name)) if model.ref.kind == "workspace" else None
    if trained is not None and trained.logged_model:
        return trained.logged_model
    digest = model.identity.digest
    chosen = f"tags.`treeoflife.model_digest` = '{digest}'"
    found = tracker.call(tracker.client.search_logged_models, [tracker.experiment_id], chosen)
    if found:
        return str(found[0].model_id)
    name = "".join(character if character.isalnum() or character in "-_" else "-" for character in model.label)
    tags = {"treeoflife.model_digest": digest, "treeoflife.model": model.ref.label}
    made = tracker.call(tracker.client.create_logged_model, tracker.experiment_id, name=name, tags=tags, model_type=model.ref.kind)
    tracker.call(tracker.client.finalize_logged_model, made.model_id, _READY)
    return str(made.model_id)
