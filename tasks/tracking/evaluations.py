"""The MLflow run of an evaluation: how it is named and described, and the scores that it shows."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from bioclip import layout
from bioclip.evaluation import Headline, headlines, load_scores
from bioclip.evaluation.results import method_name, shown_caption_type
from bioclip.models.reference import ModelRef
from bioclip.releases import Release
from bioclip.report.data.answer_counts import gather_answers
from bioclip.settings import meaningful
from bioclip.storage import Storage
from tasks.context import RunContext
from tasks.tracking.answer_pictures import write_pictures
from tasks.tracking.client import OpenRun, RunPlan, Tracker
from tasks.tracking.noted_runs import noted_run
from tasks.tracking.prefect_runs import describe_run, prefect_tags
from tasks.tracking.trained_models import copy_folder, dataset_input

MAX_METRICS = 60
"""Metrics of one run, each of which is a chart in MLflow."""
_MAX_TASKS = 8


def plan_evaluation(context: RunContext, release: Release, model: ModelRef, evaluation_id: str, start_ms: int) -> RunPlan:
    """The run of an evaluation, below the run that trained the model and with its model as input where MLflow has them."""
    trained = noted_run(context, layout.model_dir(model.name)) if model.kind == "workspace" else None
    uri = context.storage.uri(layout.evaluation_dir(evaluation_id))
    name = model.name if model.kind == "workspace" else model.label
    tags = {
        **prefect_tags(),
        "mlflow.source.name": "treeoflife evaluate",
        "mlflow.source.type": "LOCAL",
        "mlflow.parentRunId": trained.run_id if trained else "",
        "mlflow.note.content": describe_run(f"Scores of model `{name}` on release `{release.version}`.", {"Folder": uri}),
        "treeoflife.evaluation_id": evaluation_id,
        "treeoflife.model_id": name,
    }
    params = {"evaluation": meaningful(context.settings.evaluation), "release": release.version, "model_id": name}
    dataset = dataset_input(context, release)
    input_model = trained.logged_model if trained else ""
    return RunPlan(f"evaluate-{evaluation_id}", f"evaluation:{evaluation_id}", start_ms, tags, params, dataset, "evaluation", input_model)


def complete_evaluation(tracker: Tracker, run: OpenRun, context: RunContext, release: Release, evaluation_id: str) -> None:
    """Log the scores, a table of the headline scores as the run's description, the files and their charts."""
    storage, scores = context.storage, load_scores(context.storage, evaluation_id)
    metrics = bounded_metrics(score_metrics(storage, evaluation_id))
    tracker.log_metrics(run, metrics, 0, run.start_ms, dataset_input(context, release))
    name, folder = scores.info.model_id or scores.info.model, layout.evaluation_dir(evaluation_id)
    sentence = f"Scores of model `{name}` on release `{release.version}`.\n\n{scores_markdown(headlines(scores))}"
    note = {"mlflow.note.content": describe_run(sentence, {"Folder": storage.uri(folder)})}
    tracker.set_tags(run, note | {"treeoflife.model_digest": scores.info.model_digest})
    with tempfile.TemporaryDirectory() as scratch:
        files = Path(scratch) / "files"
        copy_folder(storage, folder, files)
        for benchmark, answers in gather_answers(storage, evaluation_id).items():
            write_pictures(files, benchmark, answers)
        tracker.log_files(run, files)


def score_metrics(storage: Storage, evaluation_id: str) -> dict[str, float]:
    """A few dozen scores as `benchmark/measure`, the rest being in the files: each caption type and each number of shots at species rank,
    and the shown caption type at the other ranks, by further metrics, and with chance level and majority baseline."""
    scores = load_scores(storage, evaluation_id)
    metrics: dict[str, float] = {}
    for benchmark in scores.info.benchmarks:
        rows = scores.rows(benchmark=benchmark["name"])
        shown = shown_caption_type(rows)
        for row in rows:
            known = dict(row["parameters"])
            caption, rank, shots = known.pop("caption_type", ""), known.pop("rank", "species"), known.pop("shots", 0)
            is_shown, is_top1 = caption == shown, row["metric"] == "top1"
            if row["task"] == "zero_shot" and not (is_shown and (is_top1 or rank == "species")) and not (is_top1 and rank == "species"):
                continue
            known["method"] = method_name(known)
            words = [f"{shots}-shot" if shots else row["task"].replace("_", "-"), "" if is_shown else caption]
            words += [
                "" if rank == "species" else rank,
                *(f"{key} {value}" for key, value in sorted(known.items()) if value != ""),
                row["metric"],
            ]
            name = f"{row['benchmark']}/{' '.join(filter(None, map(str, words)))}"
            metrics[name] = row["value"]
            if is_shown and is_top1 and rank == "species" and row["chance"] is not None:
                metrics[f"{row['benchmark']}/chance"] = row["chance"]
                metrics[f"{row['benchmark']}/majority"] = row["majority"]
    return metrics


def bounded_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """At most MAX_METRICS of them, in their order: the headline scores, then others at species rank, then the rest.

    Of a set of many tasks (`newt/<task>`) the means over its tasks are shown; every score is in the files.
    """
    parts: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        benchmark, _, measure = name.rpartition("/")
        parts.setdefault(benchmark, {})[measure] = value
    sizes = Counter(benchmark.partition("/")[0] for benchmark in parts)
    found: dict[str, float] = {}
    for family in dict.fromkeys(benchmark.partition("/")[0] for benchmark in parts):
        members = {name: values for name, values in parts.items() if name.partition("/")[0] == family}
        if sizes[family] > _MAX_TASKS:
            measures = dict.fromkeys(measure for values in members.values() for measure in values)
            means = {measure: [values[measure] for values in members.values() if measure in values] for measure in measures}
            members = {f"{family} mean of {len(members)}": {measure: fmean(values) for measure, values in means.items()}}
        found |= {f"{name}/{measure}": value for name, values in members.items() for measure, value in values.items()}
    chosen = sorted(found, key=lambda name: _priority(name.rpartition("/")[2]))[:MAX_METRICS]
    return {name: value for name, value in found.items() if name in chosen}


def _priority(measure: str) -> int:
    """0 for headline scores and their baselines, 1 for other metrics of these, 2 for the rest."""
    if re.fullmatch(r"(zero-shot|\d+-shot) top1|chance|majority", measure):
        return 0
    return 1 if re.fullmatch(r"(zero-shot|\d+-shot) \w+", measure) else 2


def scores_markdown(lines: Sequence[Headline]) -> str:
    """Markdown of the headline scores with their intervals."""
    made = ["| benchmark | measure | score | 95 % interval | chance | images | classes |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for line in lines:
        if line.value is None or line.ci_low is None or line.ci_high is None or line.chance is None:
            made.append(f"| {line.benchmark} | {line.measure} | no score: {line.reason} | | | {line.num_images:,} | {line.num_classes:,} |")
            continue
        interval = f"{100 * line.ci_low:.1f} to {100 * line.ci_high:.1f}"
        made.append(
            f"| {line.benchmark} | {line.measure} | {100 * line.value:.1f} % | {interval} | {100 * line.chance:.1f} % "
            f"| {line.num_images:,} | {line.num_classes:,} |"
        )
    return "\n".join(made)
