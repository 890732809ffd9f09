"""Reads stored scores; does not import torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.errors import EvaluationError
from bioclip.evaluation.predictions import read_parameters
from bioclip.evaluation.runs import EvaluationInfo, find_evaluation, list_evaluations
from bioclip.storage import Storage

MEASUREMENT_SCHEMA = pa.schema(
    [
        pa.field("benchmark", pa.string(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("parameters", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("ci_low", pa.float64(), nullable=False),
        pa.field("ci_high", pa.float64(), nullable=False),
        pa.field("interval_method", pa.string(), nullable=False),
        pa.field("interval_unit", pa.string(), nullable=False),
        pa.field("num_images", pa.int64(), nullable=False),
        pa.field("num_units", pa.int64(), nullable=False),
        pa.field("num_classes", pa.int64()),
        pa.field("chance", pa.float64()),
        pa.field("majority", pa.float64()),
    ]
)
"""evaluations/<id>/scores.parquet, one row per measurement. `parameters` is canonical JSON: caption_type and rank of zero_shot, shots,
rank and method of few_shot, others for an external task. The interval is of 95 %, made by `interval_method` over `num_units` units of
`interval_unit` (`image`, `observation` or `species`); `num_images` were included. `chance` is the value of guessing and `majority` that of
the best constant answer; both, and `num_classes`, are null for a metric that has none. Accuracies are shares from 0 to 1, other metrics
have their own units."""

_PREFERRED_CAPTION_TYPE = "taxon_com"
DEFAULT_METHOD = "simpleshot"


@dataclass(frozen=True)
class Scores:
    """An evaluation with its MEASUREMENT_SCHEMA table."""

    info: EvaluationInfo
    table: pa.Table

    def rows(self, **wanted: Any) -> list[dict[str, Any]]:
        """Rows whose columns or parameters have the wanted values, in stored order; `parameters` is a mapping."""
        rows = [row | {"parameters": read_parameters(row["parameters"])} for row in self.table.to_pylist()]
        return [row for row in rows if all((row["parameters"] | row).get(name) == value for name, value in wanted.items())]


@dataclass(frozen=True)
class Headline:
    """One line of a summary table. Without images, `value` and the interval are None and `reason` states why. `macro` is the mean over
    classes beside the share of images, with its interval; None where it was not measured."""

    benchmark: str
    measure: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    chance: float | None
    num_images: int
    num_classes: int
    majority: float | None = None
    interval_unit: str = "image"
    num_units: int = 0
    reason: str = ""
    macro: float | None = None
    macro_ci_low: float | None = None
    macro_ci_high: float | None = None
    is_few_shot: bool = False


def load_scores(storage: Storage, evaluation_id: str) -> Scores:
    """The scores of a finished evaluation; raises EvaluationError that lists the finished evaluations."""
    if (info := find_evaluation(storage, evaluation_id)) is None:
        found = ", ".join(list_evaluations(storage)) or "none"
        raise EvaluationError(
            f"evaluation {evaluation_id!r} is not in {storage.root!r}; available: {found}. Run `treeoflife evaluate` to create one."
        )
    with storage.reader(f"{info.folder}/{layout.SCORES_TABLE}") as stream:
        return Scores(info, pq.read_table(stream))


def headlines(scores: Scores) -> list[Headline]:
    """Top-1 at species rank for each benchmark: zero-shot with taxonomic and common names (or the first caption type scored), then
    every number of shots."""
    lines: list[Headline] = []
    for benchmark in scores.info.benchmarks:
        name = benchmark["name"]
        rows = scores.rows(benchmark=name, rank="species", metric="top1")
        shown = shown_caption_type(rows)
        macro = {(row["task"], str(row["parameters"])): row for row in scores.rows(benchmark=name, rank="species", metric="macro_top1")}
        lines += [
            _headline(name, row, macro.get((row["task"], str(row["parameters"]))))
            for row in rows
            if row["task"] == "few_shot" or row["parameters"].get("caption_type") == shown
        ]
        if not rows:
            reason = benchmark["reason"] or "no task gave a top-1 at the species"
            lines.append(Headline(name, "top-1", None, None, None, None, benchmark["num_images"], benchmark["num_classes"], reason=reason))
    return lines


def describe_units(num_units: int, unit: str) -> str:
    """A number of units with their noun, e.g. `8 species` or `209 images`."""
    return f"{num_units:,} {unit}{'' if unit == 'species' or num_units == 1 else 's'}"


def describe_parameters(task: str, parameters: Mapping[str, Any]) -> str:
    """A task with its parameters, e.g. `zero-shot sci genus` or `5-shot species`."""
    rest = dict(parameters)
    shots = rest.pop("shots", None)
    caption_type, rank = rest.pop("caption_type", ""), rest.pop("rank", "")
    words = [f"{shots}-shot" if shots else task.replace("_", "-"), caption_type, rank]
    return " ".join(filter(None, [*words, *(f"{name} {value}" for name, value in sorted(rest.items()))]))


def describe_shared_prompts(shared: Mapping[str, Mapping[str, Any]]) -> str:
    """One sentence on the classes that have one prompt, from the note `shared_prompts` of a benchmark; '' where there are none."""
    if not shared:
        return ""
    numbers = ", ".join(f"{one['num_classes']:,} classes share {one['num_prompts']:,} prompts of {name}" for name, one in shared.items())
    first = next(iter(shared.values()))["examples"][0]
    return f"{numbers} and are scored as ties, for example {first['prompt']!r} ({', '.join(first['classes'])})."


def shown_caption_type(rows: Sequence[Mapping[str, Any]]) -> str:
    """The caption type that summaries show: taxonomic and common names, or the first one scored; '' without zero-shot rows."""
    return preferred_caption_type([row["parameters"]["caption_type"] for row in rows if row["task"] == "zero_shot"])


def preferred_caption_type(types: Sequence[str]) -> str:
    """Taxonomic and common names if they are among `types`, else the first one; '' of none."""
    return _PREFERRED_CAPTION_TYPE if _PREFERRED_CAPTION_TYPE in types else next(iter(types), "")


def method_name(parameters: Mapping[str, Any]) -> str:
    """The few-shot method of a row where it has to be named: '' for SimpleShot, which every evaluation has by default."""
    name = str(parameters.get("method", ""))
    return "" if name == DEFAULT_METHOD else name


def _headline(benchmark: str, row: dict[str, Any], macro: dict[str, Any] | None) -> Headline:
    parameters = row["parameters"]
    measure = f"zero-shot top-1, {parameters.get('caption_type', '')}"
    is_few_shot = row["task"] == "few_shot"
    if is_few_shot:
        measure = ", ".join(filter(None, [f"{parameters['shots']}-shot top-1", method_name(parameters)]))
    names = ("value", "ci_low", "ci_high", "chance", "num_images", "num_classes", "majority", "interval_unit", "num_units")
    line = replace(Headline(benchmark, measure, *(row[name] for name in names)), is_few_shot=is_few_shot)
    if macro is None:
        return line
    return replace(line, macro=macro["value"], macro_ci_low=macro["ci_low"], macro_ci_high=macro["ci_high"])
