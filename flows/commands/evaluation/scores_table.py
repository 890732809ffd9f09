"""The comparison of a grid as one table of text and as JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa
from rich.table import Table

from bioclip.evaluation.grid.cells import CellResult
from bioclip.evaluation.grid.side_by_side import cell_headlines
from bioclip.evaluation.predictions import read_parameters
from bioclip.evaluation.results import Headline, describe_shared_prompts, describe_units, preferred_caption_type
from bioclip.models.text_context import describe_cut_texts
from bioclip.storage import Storage


def scores_values(results: Sequence[CellResult], storage: Storage) -> list[dict[str, Any]]:
    """One mapping per headline score: those of Headline with the model and its evaluation."""
    found = []
    for result in results:
        evaluation_id = result.info.evaluation_id if result.info else ""
        common = {"model": result.model.label, "evaluation_id": evaluation_id, "reused": result.reused, "num_encoded": result.num_encoded}
        common["leaks"] = result.leaks.to_dict()
        found += [common | asdict(line) for line in cell_headlines(result, storage)]
    return found


def scores_table(results: Sequence[CellResult], storage: Storage) -> Table:
    """One row per benchmark and model, one column per measure: value and 95 % interval in percent."""
    lines = [(result.model.label, line) for result in results for line in cell_headlines(result, storage)]
    measures = list(dict.fromkeys(_short(line.measure) for _, line in lines if line.value is not None))
    benchmarks = list(dict.fromkeys(line.benchmark for _, line in lines))
    models = list(dict.fromkeys(label for label, _ in lines))
    leaks = {(one.model.label, entry["name"]): one.leaks for one in results if one.info for entry in one.info.benchmarks}
    table = Table("benchmark", "model", *measures, "leaks", title="Top-1 in percent, with 95 % intervals", title_justify="left")
    for benchmark in benchmarks:
        of_models = {
            model: {_short(line.measure): line for name, line in lines if (name, line.benchmark) == (model, benchmark)} for model in models
        }
        rows = [
            (model, [*(_cell(found.get(measure)) for measure in measures), leaks[model, benchmark].describe(benchmark)])
            for model, found in of_models.items()
            if found
        ]
        known = [found for found in of_models.values() if found]
        rows += [(what, [*(_baseline(known, measure, what) for measure in measures), ""]) for what in ("chance", "majority")]
        for place, (name, shown) in enumerate(rows):
            table.add_row(benchmark if not place else "", name, *shown, end_section=place == len(rows) - 1)
    return table


def describe_cells(results: Sequence[CellResult]) -> list[str]:
    """One sentence per benchmark on its images, classes, baselines and what was left out, and per model on what only concerns it."""
    said: dict[str, None] = {}
    for result in results:
        for entry in result.info.benchmarks if result.info else ():
            dropped = ", ".join(f"{reason} {number:,}" for reason, number in entry["dropped"].items())
            counts = f"{entry['name']}: {entry['num_images']:,} images, {entry['num_classes']:,} classes"
            said |= {counts + (f"; left out: {dropped}" if dropped else ""): None}
            said |= dict.fromkeys(f"{entry['name']}: {words}" for words in _label_notes(entry["notes"].get("labels", {})))
            few = [one for one in entry["few_shot"] if one["left_out_classes"]]
            said |= {
                f"{entry['name']}: {one['shots']}-shot leaves out {one['left_out_classes']:,} classes with too few images": None
                for one in few
            }
            said |= dict.fromkeys(f"{entry['name']}, {result.model.label}: {words}" for words in _model_notes(entry))
    return list(said)


def describe_differences(differences: pa.Table) -> list[str]:
    """One sentence per benchmark and model on the difference from the first model, zero-shot top-1 where there is one."""
    rows = [row | {"parameters": read_parameters(row["parameters"])} for row in differences.to_pylist() if row["metric"] == "top1"]
    rows = [row for row in rows if row["parameters"].get("rank") == "species"]
    shown = preferred_caption_type([row["parameters"]["caption_type"] for row in rows if row["task"] == "zero_shot"])
    found: dict[tuple[str, str], str] = {}
    for row in rows:
        if row["parameters"].get("caption_type", shown) == shown:
            what = f"zero-shot {shown}" if row["task"] == "zero_shot" else f"{row['parameters']['shots']}-shot"
            points = [f"{100 * row[name]:+.1f}" for name in ("difference", "ci_low", "ci_high")]
            sentence = f"{row['benchmark']}, {what}: {row['model']} less {row['baseline']} is {points[0]} points [{points[1]}, {points[2]}]"
            over = describe_units(row["num_units"], row["interval_unit"])
            found.setdefault((row["benchmark"], row["model"]), f"{sentence}, p {row['p_value']:.2g}, paired over {over}")
    return list(found.values())


def _short(measure: str) -> str:
    return measure.replace(" top-1", "").replace(",", "")


def _cell(line: Headline | None) -> str:
    if line is None or line.value is None or line.ci_low is None or line.ci_high is None:
        return "-"
    return f"{100 * line.value:.1f} [{100 * line.ci_low:.1f}, {100 * line.ci_high:.1f}]"


def _baseline(known: Sequence[dict[str, Headline]], measure: str, what: str) -> str:
    """The level of guessing or of the best constant answer; models that could not read some images may differ in it by a little."""
    values = [getattr(found[measure], what) for found in known if measure in found and found[measure].value is not None]
    return "-" if not values or values[0] is None else f"{100 * values[0]:.1f}"


def _label_notes(notes: dict[str, Any]) -> list[str]:
    found = []
    for what, value in notes.items():
        if isinstance(value, dict):
            found.append(f"{what.replace('_', ' ')}: {value['num_classes']:,} ({', '.join(value['examples'])})")
        else:
            found.append(f"{what.replace('_', ' ')}: {value:,}")
    return found


def _model_notes(entry: dict[str, Any]) -> list[str]:
    found = [f"not scored: {entry['reason']}"] if entry["reason"] else []
    for task, notes in entry["notes"].items():
        if task == "labels":
            continue
        found += ["all images have the same features, so its answers do not depend on the image"] if notes.get("constant") else []
        found += [f"{task}: {notes['skipped']}"] if "skipped" in notes else []
        found += [describe_shared_prompts(notes["shared_prompts"])] if notes.get("shared_prompts") else []
        found += [describe_cut_texts(notes["cut_captions"])] if notes.get("cut_captions") else []
    return found
