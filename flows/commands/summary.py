"""The tables that the flows' commands print at their end, and the same as data."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import RenderableType
from rich.table import Table

from bioclip import layout
from bioclip.evaluation import headlines, load_scores
from bioclip.evaluation.results import Headline, describe_shared_prompts, describe_units
from bioclip.models.text_context import describe_cut_texts
from bioclip.settings import PipelineSettings
from bioclip.storage import open_workspace
from flows.commands.answers import Answer
from flows.tree_of_life import RunSummary
from tasks.learning import EvaluationSummary, ModelSummary
from tasks.stages import ReleaseSummary, StageSummary


def answer_run(run: RunSummary, settings: PipelineSettings) -> Answer:
    """Release, model and scores of a whole run, and where its results are."""
    results = _table("Results")
    results.add_row("release", run.release.uri)
    results.add_row("report", run.report_uri)
    if run.model.tracking is not None:
        results.add_row("MLflow run", run.model.tracking.link)
    program = sys.argv[0] if Path(sys.argv[0]).name == "treeoflife" else "treeoflife"
    results.add_row("open the UIs", shlex.join([program, "ui", "--workspace", settings.workspace.uri]))
    results.add_row("run again", shlex.join([program, "run", "--settings", open_workspace(settings.workspace).uri(layout.DEMO_SETTINGS)]))
    scores, remarks = _headlines(run.evaluation, settings)
    data = {"release": run.release, "model": run.model, "evaluation": run.evaluation, "scores": scores, "report_uri": run.report_uri}
    tables = (_release_table(run.release), _model_table(run.model), _scores_table(run.evaluation, scores, remarks), results)
    text: list[RenderableType] = []
    for table in tables:
        text += ["", table]
    return Answer(data, text)


def answer_release(release: ReleaseSummary) -> Answer:
    """What `curate` built."""
    return Answer({"release": release}, ["", _release_table(release), f"\nrelease  {release.uri}"])


def answer_model(model: ModelSummary) -> Answer:
    """What `train` trained."""
    return Answer({"model": model}, ["", _model_table(model), f"\nmodel  {model.uri}"])


def answer_evaluation(evaluation: EvaluationSummary, settings: PipelineSettings) -> Answer:
    """The scores of a model; the text shows the headline scores."""
    scores, remarks = _headlines(evaluation, settings)
    data = {"evaluation": evaluation, "scores": scores}
    return Answer(data, ["", _scores_table(evaluation, scores, remarks), f"\nscores  {evaluation.uri}"])


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    return table


def _release_table(release: ReleaseSummary) -> Table:
    stages = {stage.stage: stage for stage in release.stages}
    table = _table(f"Release {release.version}")
    table.add_row("records read", f"{stages['records'].counts['read']:,}{_drops(stages['records'])}")
    images = stages["images"]
    attempts = f"; {images.effort.get('attempts', 0):,} attempts in this run"
    table.add_row("downloaded", f"{images.counts['written']:,}{_drops(images)}{attempts}")
    duplicates = stages["duplicates"]
    table.add_row(
        "duplicates",
        f"{sum(duplicates.counts['dropped'].values()):,} in {duplicates.counts['notes'].get('groups', 0):,} groups{_drops(duplicates)}",
    )
    names = stages["taxonomy"]
    num_labels = names.counts["notes"].get("match_label", 0)
    labels = f"; {num_labels:,} kept as labels that no backbone knows" if num_labels else ""
    table.add_row("names resolved", f"{names.counts['written'] - num_labels:,} of {names.counts['read']:,} distinct{labels}{_drops(names)}")
    table.add_row("samples", f"{stages['release'].counts['written']:,}{_drops(stages['release'])}")
    table.add_row("parent", _parent(release, stages["release"]))
    for name, split in release.splits.items():
        table.add_row(f"  {name}", f"{split['num_samples']:,} images, {split['num_species']:,} species, {split['shards']:,} shards")
    computed = sum(stage.num_run for stage in release.stages)
    reused = sum(stage.num_partitions for stage in release.stages) - computed
    table.add_row("partitions", f"{computed:,} computed, {reused:,} reused")
    return table


def _parent(release: ReleaseSummary, stage: StageSummary) -> str:
    if not release.parent:
        return "none (new split assignment)"
    notes = stage.counts["notes"]
    kept, rewritten, added = (notes.get(f"samples_{what}", 0) for what in ("kept_in_place", "rewritten", "added"))
    return f"{release.parent}: {kept:,} samples kept in place, {rewritten:,} rewritten, {added:,} added"


def _drops(stage: StageSummary) -> str:
    dropped = stage.counts["dropped"]
    return f"; dropped {', '.join(f'{reason} {number:,}' for reason, number in dropped.items())}" if dropped else ""


def _model_table(model: ModelSummary) -> Table:
    table = _table(f"Model {model.model_id}" + (" (reused)" if model.reused else ""))
    table.add_row("training loss", f"{model.loss_first:.3f} first, {model.loss_last:.3f} last, in {model.num_steps:,} steps")
    table.add_row("parameters", f"{model.num_parameters:,}")
    return table


def _headlines(evaluation: EvaluationSummary, settings: PipelineSettings) -> tuple[list[Headline], list[tuple[str, str]]]:
    """(headline scores, (benchmark, remark) on classes with one prompt)."""
    scores = load_scores(open_workspace(settings.workspace), evaluation.evaluation_id)
    notes = [(one["name"], one["notes"].get("zero_shot", {})) for one in scores.info.benchmarks]
    shared = [(name, describe_shared_prompts(found["shared_prompts"])) for name, found in notes if found.get("shared_prompts")]
    return headlines(scores), shared + [
        (name, describe_cut_texts(found["cut_captions"])) for name, found in notes if found.get("cut_captions")
    ]


def _scores_table(evaluation: EvaluationSummary, scores: Sequence[Headline], remarks: Sequence[tuple[str, str]]) -> Table:
    table = _table(f"Scores {evaluation.evaluation_id}" + (" (reused)" if evaluation.reused else ""))
    for line in scores:
        if line.value is None or line.ci_low is None or line.ci_high is None or line.chance is None:
            table.add_row(f"{line.benchmark}", f"{line.measure}: no score, {line.reason}")
            continue
        unit = f"over {describe_units(line.num_units, line.interval_unit)}"
        interval = f"{100 * line.value:.1f} % (95 % {unit}: {100 * line.ci_low:.1f} to {100 * line.ci_high:.1f})"
        baseline = f"chance {100 * line.chance:.1f} %" + (f", majority {100 * line.majority:.1f} %" if line.majority is not None else "")
        if line.macro is not None and line.macro_ci_low is not None and line.macro_ci_high is not None:
            baseline += f"; over classes {100 * line.macro:.1f} % ({100 * line.macro_ci_low:.1f} to {100 * line.macro_ci_high:.1f})"
        table.add_row(line.benchmark, f"{line.measure}: {interval}; {baseline}; {line.num_images:,} images, {line.num_classes:,} classes")
    for benchmark, remark in remarks:
        table.add_row(benchmark, remark)
    return table
