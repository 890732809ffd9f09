"""Any models on any benchmarks in this process: progress, one table at the end, and the comparison's files."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bioclip import layout
from bioclip.errors import TreeOfLifeError, UsageError
from bioclip.evaluation.benchmarks.references import BenchmarkRef
from bioclip.evaluation.grid.cells import CellResult, GridModel, Target, find_targets, name_models, score_cell
from bioclip.evaluation.grid.side_by_side import Comparison, write_comparison
from bioclip.models.reference import ModelRef
from bioclip.releases import Release, open_release
from bioclip.releases.locating import locate_release
from bioclip.releases.manifest import open_release_folder
from bioclip.report.data.shown_answers import ShownAnswers, gather_shown
from bioclip.report.pages.comparison import render_comparison
from bioclip.settings import PipelineSettings
from bioclip.storage import Storage, open_storage, open_workspace
from flows.commands.answers import Answer
from flows.commands.evaluation.scores_table import describe_cells, describe_differences, scores_table, scores_values
from flows.commands.exit_codes import ExitCode


def evaluate_grid(
    settings: PipelineSettings, models: Sequence[str], benchmarks: Sequence[str], release: str, against: str, out: str
) -> Answer:
    """Score every model on every benchmark. Everything that is named is found before the first image is read.

    A model that fails is named in the table, the others are scored, and the exit code is 1. Raises UsageError and the errors of what
    cannot be found.
    """
    if not models:
        raise UsageError("no model is named; give at least one, e.g. `treeoflife evaluate ViT-B-16:openai --benchmark FOLDER`.")
    storage = open_workspace(settings.workspace)
    storage.check_writable()
    refs = [BenchmarkRef.parse(text) for text in benchmarks or settings.evaluation.benchmarks]
    needs_release = any(not ref.path for ref in refs)
    found = name_models([ModelRef.parse(text) for text in models], storage)
    targets = find_targets(refs, open_release(storage, release) if needs_release else None)
    probed = open_release_folder(locate_release(settings.workspace, against)) if against else None
    results = _score_all(found, targets, settings, storage, probed)
    comparison = write_comparison(results, settings.evaluation, storage)
    uri = storage.uri(comparison.folder)
    pairs = [(one.model.label, one.info.evaluation_id, scored) for one in results if one.info for scored in one.benchmarks]
    shown = gather_shown(pairs, comparison.places, storage)
    page = {layout.COMPARISON_PAGE: render_comparison(comparison.info, comparison.table, comparison.differences, shown)}
    storage.write_bytes(f"{comparison.folder}/{layout.COMPARISON_PAGE}", page[layout.COMPARISON_PAGE])
    if out:
        _write_out(out, settings, comparison.files() | page)
    failures = [f"{one.model.label} on {one.target.name}: {one.failure}" for one in results if one.failure]
    data = {
        "comparison": {"comparison_id": comparison.comparison_id, "uri": uri},
        "scores": scores_values(results, storage),
        "failures": failures,
    }
    tracked = _log_to_mlflow(settings, results, comparison, shown, storage)
    lines = [
        *describe_cells(results),
        *describe_differences(comparison.differences),
        *(f"no score: {one}" for one in failures),
        *tracked,
        f"\ncomparison  {uri}/{layout.COMPARISON_PAGE}",
    ]
    text: list[RenderableType] = ["", scores_table(results, storage), *lines, *([f"written to  {out}"] if out else [])]
    return Answer(data, text, ExitCode.FAILED if failures else ExitCode.DONE)


def _score_all(
    models: Sequence[GridModel], targets: Sequence[Target], settings: PipelineSettings, storage: Storage, against: Release | None
) -> list[CellResult]:
    """All cells, model by model, so that each network is loaded once; a single cell that fails raises its error."""
    results = []
    is_alone = len(models) * len(targets) == 1
    with _progress() as progress:
        for model in models:
            for target in targets:
                bar = progress.add_task(f"{model.label} on {target.name}", total=target.num_images or None, note="")
                try:
                    result = score_cell(model, target, settings, storage, _Lines(progress, bar), against)
                except TreeOfLifeError as error:
                    if is_alone:
                        raise
                    result = CellResult(model, target, None, failure=str(error))
                results.append(result)
                note = "failed" if result.failure else "reused" if result.reused else f"{result.num_encoded:,} images encoded"
                total = target.num_images or 1
                progress.update(bar, total=total, completed=0 if result.failure else total, note=note)
    return results


def _log_to_mlflow(
    settings: PipelineSettings, results: Sequence[CellResult], comparison: Comparison, shown: Sequence[ShownAnswers], storage: Storage
) -> list[str]:
    """Sentences on the runs in MLflow; none where tracking is off or MLflow is not installed."""
    if not settings.tracking.enabled or find_spec("mlflow") is None or find_spec("prefect") is None:
        return []
    from flows.environment import QUIET

    for name, value in QUIET.items():  # read when MLflow is imported
        os.environ.setdefault(name, value)
    from tasks.tracking.grid_evaluations import log_grid

    return log_grid(settings, results, comparison, shown, storage)


class _Lines:
    """Shows the evaluator's lines on a bar."""

    def __init__(self, progress: Progress, bar: TaskID) -> None:
        self._progress, self._bar = progress, bar

    def write(self, text: str) -> None:
        """Show one line."""
        line: dict[str, Any] = json.loads(text)
        if line["event"] == "encoded":
            note = f"{line['images_per_second']:.0f} images/s"
            self._progress.update(self._bar, completed=line["done"], total=line["num_images"], note=note)
        elif line["event"] == "scored":
            self._progress.update(self._bar, note=f"scored {line['benchmark']}")

    def flush(self) -> None:
        """Nothing is held back."""


def _write_out(out: str, settings: PipelineSettings, files: dict[str, bytes]) -> None:
    folder = open_storage(out.rstrip("/"), settings.workspace.s3)
    for name, data in files.items():
        folder.write_bytes(name, data)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, TextColumn("{task.fields[note]}"), console=Console(file=sys.stderr))
