"""The short tables at the end of a command."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bioclip import layout
from bioclip.evaluation import headlines, load_scores
from bioclip.settings import PipelineSettings
from bioclip.storage import open_workspace
from flows.tree_of_life import RunSummary
from tasks.learning import EvaluationSummary, ModelSummary
from tasks.stages import ReleaseSummary, StageSummary


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    return table


def _show(*tables: Table) -> None:
    console = Console(soft_wrap=False)
    for table in tables:
        console.print()
        console.print(table)


def print_run(run: RunSummary, settings: PipelineSettings) -> None:
    """All that a run came to, and where to look."""
    where = _table("Where to look")
    where.add_row("release", run.release.uri)
    where.add_row("report", run.report_uri)
    if run.model.tracking is not None:
        where.add_row("MLflow run", run.model.tracking.link)
    program = sys.argv[0] if Path(sys.argv[0]).name == "treeoflife" else "treeoflife"
    where.add_row("both UIs", shlex.join([program, "ui", "--workspace", settings.workspace.uri]))
    where.add_row("run again", shlex.join([program, "run", "--settings", open_workspace(settings.workspace).uri(layout.DEMO_SETTINGS)]))
    _show(_release_table(run.release), _model_table(run.model), _scores_table(run.evaluation, settings), where)


def print_release(release: ReleaseSummary) -> None:
    """What curating came to."""
    _show(_release_table(release))
    print(f"\nrelease  {release.uri}")


def print_model(model: ModelSummary) -> None:
    """What training came to."""
    _show(_model_table(model))
    print(f"\nmodel  {model.uri}")


def print_evaluation(evaluation: EvaluationSummary, settings: PipelineSettings) -> None:
    """The headline scores."""
    _show(_scores_table(evaluation, settings))
    print(f"\nscores  {evaluation.uri}")


def _release_table(release: ReleaseSummary) -> Table:
    stages = {stage.stage: stage for stage in release.stages}
    table = _table(f"Release {release.version}")
    table.add_row("records read", f"{stages['records'].counts['read']:,}{_drops(stages['records'])}")
    images = stages["images"]
    asked = f"; {images.effort.get('requests', 0):,} requests now"
    table.add_row("downloaded", f"{images.counts['written']:,}{_drops(images)}{asked}")
    duplicates = stages["duplicates"]
    table.add_row(
        "duplicates",
        f"{sum(duplicates.counts['dropped'].values()):,} in {duplicates.counts['notes'].get('groups', 0):,} groups{_drops(duplicates)}",
    )
    names = stages["taxonomy"]
    table.add_row("names resolved", f"{names.counts['written']:,} of {names.counts['read']:,} distinct{_drops(names)}")
    table.add_row("samples", f"{stages['release'].counts['written']:,}{_drops(stages['release'])}")
    table.add_row("continues", _line(release, stages["release"]))
    for name, split in release.splits.items():
        table.add_row(f"  {name}", f"{split['num_samples']:,} images, {split['num_species']:,} species, {split['shards']:,} shards")
    done = sum(stage.num_run for stage in release.stages)
    table.add_row("partitions", f"{done:,} done now, {sum(s.num_partitions for s in release.stages) - done:,} found done")
    return table


def _line(release: ReleaseSummary, stage: StageSummary) -> str:
    if not release.parent:
        return "none: its splits are its own"
    notes = stage.counts["notes"]
    kept, rewritten, added = (notes.get(f"samples_{what}", 0) for what in ("kept_in_place", "rewritten", "added"))
    return f"{release.parent}: {kept:,} samples lie where they were, {rewritten:,} are written again, {added:,} are new"


def _drops(stage: StageSummary) -> str:
    dropped = stage.counts["dropped"]
    return f"; dropped {', '.join(f'{reason} {number:,}' for reason, number in dropped.items())}" if dropped else ""


def _model_table(model: ModelSummary) -> Table:
    table = _table(f"Model {model.model_id}" + (" (trained earlier)" if model.reused else ""))
    table.add_row("training loss", f"{model.loss_first:.3f} first, {model.loss_last:.3f} last, in {model.num_steps:,} steps")
    table.add_row("parameters", f"{model.num_parameters:,}")
    return table


def _scores_table(evaluation: EvaluationSummary, settings: PipelineSettings) -> Table:
    scores = load_scores(open_workspace(settings.workspace), evaluation.evaluation_id)
    table = _table(f"Scores {evaluation.evaluation_id}" + (" (scored earlier)" if evaluation.reused else ""))
    for line in headlines(scores):
        if line.value is None or line.ci_low is None or line.ci_high is None or line.chance is None:
            table.add_row(f"{line.benchmark}", f"{line.measure}: no score, {line.reason}")
            continue
        unit = f"over {line.num_units:,} {'species' if line.interval_unit == 'species' else 'images'}"
        interval = f"{100 * line.value:.1f} % (95 % {unit}: {100 * line.ci_low:.1f} to {100 * line.ci_high:.1f})"
        baseline = f"chance {100 * line.chance:.1f} %" + (f", majority {100 * line.majority:.1f} %" if line.majority is not None else "")
        table.add_row(line.benchmark, f"{line.measure}: {interval}; {baseline}; {line.num_images:,} images, {line.num_classes:,} classes")
    return table
