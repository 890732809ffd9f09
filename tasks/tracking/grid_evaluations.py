"""The evaluations of a grid in MLflow: one run each, with its metrics on the model and on the dataset."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from bioclip import layout
from bioclip.digests import digest_value
from bioclip.errors import TrackingError
from bioclip.evaluation import EvaluationInfo, headlines, load_scores
from bioclip.evaluation.grid.cells import CellResult, GridModel, Target
from bioclip.evaluation.grid.side_by_side import Comparison
from bioclip.evaluation.predictions import read_parameters
from bioclip.evaluation.results import method_name, shown_caption_type
from bioclip.report.data.shown_answers import ShownAnswers
from bioclip.settings import PipelineSettings, meaningful
from bioclip.storage import Storage, state_dir
from tasks.tracking.answer_pictures import write_pictures
from tasks.tracking.client import DatasetInput, RunPlan, TrackedRun, Tracker
from tasks.tracking.evaluations import bounded_metrics, score_metrics, scores_markdown
from tasks.tracking.noted_runs import note_run, noted_run
from tasks.tracking.trained_models import copy_folder

_READY = "READY"
_MAX_DIFFERENCES = 12
"""Metrics of one run that are differences; all of them are in differences.parquet."""


@dataclass(frozen=True)
class GridContext:
    """Where results and their notes are."""

    settings: PipelineSettings
    storage: Storage
    state_dir: Path


def log_grid(
    settings: PipelineSettings, results: Sequence[CellResult], comparison: Comparison, shown: Sequence[ShownAnswers], storage: Storage
) -> list[str]:
    """Log every finished evaluation that the MLflow of the settings does not have yet, with its pictures and the comparison's page.

    Returns the sentences to print: the address of each run, or why MLflow has none of them; the scores are in the workspace in any case.
    """
    context = GridContext(settings, storage, state_dir(settings.workspace))
    waiting = [one for one in results if one.info and noted_run(context, layout.evaluation_dir(one.info.evaluation_id)) is None]
    if not settings.tracking.enabled or not waiting:
        return []
    try:
        tracker = Tracker(settings.tracking, context.state_dir)
        runs = [_log(tracker, context, one, info, comparison, shown) for one in waiting if (info := one.info)]
    except TrackingError as error:
        return [f"MLflow has not all of these evaluations: {error} The same command logs them."]
    return [f"MLflow run of {one.model.label} on {one.target.name}: {run.link}" for one, run in zip(waiting, runs, strict=True)]


def _log(
    tracker: Tracker, context: GridContext, result: CellResult, info: EvaluationInfo, comparison: Comparison, shown: Sequence[ShownAnswers]
) -> TrackedRun:
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
        "treeoflife.comparison_id": comparison.comparison_id,
        "treeoflife.seed": str(info.settings["seed"]),
    }
    params = {"evaluation": meaningful(context.settings.evaluation), "benchmark": result.target.name, "model_id": result.model.label}
    model = _logged_model(tracker, context, result.model)
    plan = RunPlan(
        f"evaluate-{info.evaluation_id}", f"evaluation:{info.evaluation_id}", started_ms, tags, params, dataset, "evaluation", model
    )
    run = tracker.open_run(plan)
    metrics = bounded_metrics(score_metrics(context.storage, info.evaluation_id))
    differences = difference_metrics(comparison.differences, result.model.label, {one.name for one in result.benchmarks})
    tracker.log_metrics(run, metrics | differences, 0, run.start_ms, dataset)
    with tempfile.TemporaryDirectory() as scratch:
        files = Path(scratch) / "files"
        copy_folder(context.storage, folder, files)
        for one in (one for one in shown if one.evaluation_id == info.evaluation_id):
            write_pictures(files, one.benchmark, one.answers, one.places)
        for name in (layout.COMPARISON_PAGE, layout.COMPARISON_DIFFERENCES):
            (files / name).write_bytes(context.storage.read_bytes(f"{comparison.folder}/{name}"))
        tracker.log_files(run, files)
    tracker.finish(run)
    note_run(context, folder, run.tracked)
    return run.tracked


def difference_metrics(differences: pa.Table, model: str, benchmarks: Collection[str]) -> dict[str, float]:
    """The paired differences of a model from the baseline, as `benchmark/measure less BASELINE`: top-1 at species rank, zero-shot with the
    caption type that summaries show, and by number of shots."""
    rows = [row | {"parameters": read_parameters(row["parameters"])} for row in differences.to_pylist()]
    found: dict[str, float] = {}
    for benchmark in sorted(benchmarks):
        chosen = [one for one in rows if (one["model"], one["benchmark"], one["metric"]) == (model, benchmark, "top1")]
        chosen = [one for one in chosen if one["parameters"].get("rank", "species") == "species"]
        shown = shown_caption_type(chosen)
        for row in chosen:
            known = row["parameters"]
            if known.get("caption_type", shown) == shown:
                method = method_name(known)
                measure = f"{known['shots']}-shot{f' {method}' if method else ''}" if "shots" in known else row["task"].replace("_", "-")
                found[f"{benchmark}/{measure} top1 less {row['baseline']}"] = row["difference"]
    return dict(list(found.items())[:_MAX_DIFFERENCES])


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
