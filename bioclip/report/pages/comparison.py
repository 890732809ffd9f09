"""The page of `treeoflife evaluate MODEL... --benchmark ...`: models side by side on each benchmark, and their paired differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from markupsafe import Markup

from bioclip.evaluation.predictions import read_parameters
from bioclip.evaluation.results import describe_units, preferred_caption_type
from bioclip.report.charts.lines_and_dots import ScorePoint, dots_chart
from bioclip.report.data.shown_answers import ShownAnswers
from bioclip.report.html.components import absent, details, figure, group, heading, join, name_of, note, span, table, tiles
from bioclip.report.html.section import Section
from bioclip.report.html.templates import render_page
from bioclip.report.html.text import number, percent
from bioclip.report.pages.comparison_answers import answers_section

Row = dict[str, Any]
_MAX_TILES = 4
_SIGNIFICANT = 0.05
_ACCURACIES = ("top1", "macro_top1", "top5")


def render_comparison(info: Mapping[str, Any], scores: pa.Table, differences: pa.Table, shown: Sequence[ShownAnswers] = ()) -> bytes:
    """One self-contained page as UTF-8, from `comparison.json`, rows of COMPARISON_SCHEMA and rows of DIFFERENCE_SCHEMA, and the answers of
    each model on each benchmark."""
    rows, pairs = _rows(scores), _rows(differences)
    models = list(dict.fromkeys(cell["model"]["label"] for cell in info["cells"]))
    benchmarks = list(dict.fromkeys(row["benchmark"] for row in rows))
    sections = [
        Section("scores", "Scores", _scores(rows, benchmarks) if rows else None, "No model has a score."),
        Section("differences", "Differences", _differences(pairs), "Two models or more on one benchmark have differences."),
        answers_section(shown),
        Section("leaks", "Leak check", _leak_table(rows) if rows else None, "No model has a score."),
        Section("all", "All measurements", _all_scores(rows) if rows else None, "No model has a score."),
    ]
    return render_page(
        "model_comparison.html",
        title=f"{len(models)} models on {len(benchmarks)} benchmarks",
        name=", ".join(models),
        comparison_id=info["comparison_id"],
        counts=tiles(_headline(rows)),
        sections=[*sections[:1], *_failures(info), *sections[1:]],
    )


def _rows(found: pa.Table) -> list[Row]:
    return [row | {"parameters": read_parameters(row["parameters"])} for row in found.to_pylist()]


def _headline(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """The best zero-shot or few-shot model of each benchmark."""
    found = []
    for benchmark in dict.fromkeys(row["benchmark"] for row in rows):
        chosen = next((measured for _, measured in _shown_measures(rows, benchmark)), [])
        if chosen:
            best = max(chosen, key=lambda row: row["value"])
            found.append((f"{benchmark.replace('_', ' ')}: highest, {best['model']} ({_interval(best)})", percent(best["value"])))
    return found[:_MAX_TILES]


def _shown_measures(rows: Sequence[Row], benchmark: str) -> Iterator[tuple[str, list[Row]]]:
    """(title, rows of the models) of zero-shot top-1 with one caption type, then of every number of shots and method."""
    of_species = [
        row for row in rows if row["benchmark"] == benchmark and row["metric"] == "top1" and row["parameters"].get("rank") == "species"
    ]
    zero_shot = [row for row in of_species if row["task"] == "zero_shot"]
    shown = preferred_caption_type([row["parameters"]["caption_type"] for row in zero_shot])
    if chosen := [row for row in zero_shot if row["parameters"]["caption_type"] == shown]:
        yield f"Zero-shot top-1, {shown}", chosen
    few_shot: dict[str, list[Row]] = {}
    for row in of_species:
        if row["task"] == "few_shot":
            method = row["parameters"].get("method", "")
            few_shot.setdefault(f"{row['parameters']['shots']}-shot top-1{f', {method}' if method else ''}", []).append(row)
    yield from few_shot.items()


def _scores(rows: Sequence[Row], benchmarks: Sequence[str]) -> Markup:
    legend = note(
        span("", "key dot"),
        "score with its 95 % interval, ",
        span("", "key chance"),
        "chance level. Intervals of two models may overlap although their difference on the same images is clear; see Differences.",
    )
    return join([legend, *(_benchmark(rows, one) for one in benchmarks)])


def _benchmark(rows: Sequence[Row], benchmark: str) -> Markup:
    shown = list(_shown_measures(rows, benchmark))
    first = next(row for row in rows if row["benchmark"] == benchmark)
    title = heading(name_of(benchmark), describe_units(first["num_units"], first["interval_unit"]))
    if not shown:
        return join([title, absent("No top-1 at the species was measured; see All measurements.")])
    charts = [
        figure(name, dots_chart(f"{benchmark}: {name}", [_point(row) for row in measured], "top-1 accuracy")) for name, measured in shown
    ]
    return join([title, group("charts", *charts)])


def _point(row: Row) -> ScorePoint:
    return ScorePoint(row["model"], row["value"], row["ci_low"], row["ci_high"], row["chance"])


def _differences(pairs: Sequence[Row]) -> Markup | None:
    if not pairs:
        return None
    shown = []
    for benchmark in dict.fromkeys(row["benchmark"] for row in pairs):
        for name, measured in _shown_measures(pairs, benchmark):
            shown += [(benchmark.replace("_", " "), name, *_difference_cells(row)) for row in measured]
    legend = note(
        f"A model less {pairs[0]['baseline']}, over the images that both answered. The interval and the p-value are those of the paired "
        "difference. p-values are not corrected for the number of comparisons.",
    )
    header = ("Benchmark", "Measure", "Model", "Difference", "95 % interval", "p", "Better on, images", "Worse on, images")
    return join([legend, table("Differences from the first model", header, shown, numeric=[3, 4, 5, 6, 7])])


def _difference_cells(row: Row) -> tuple[str, ...]:
    points = [f"{100 * row[name]:+.1f}" for name in ("difference", "ci_low", "ci_high")]
    mark = " *" if row["p_value"] < _SIGNIFICANT else ""
    p = "< 0.001" if row["p_value"] < 0.001 else f"{row['p_value']:.3f}"
    return row["model"], f"{points[0]}{mark}", f"{points[1]} to {points[2]}", p, number(row["num_better"]), number(row["num_worse"])


def _leak_table(rows: Sequence[Row]) -> Markup:
    found = {}
    for row in rows:
        leaking = "unknown" if row["num_leaking"] is None else number(row["num_leaking"])
        found[row["benchmark"], row["model"]] = (row["leak_status"], leaking, ", ".join(row["leak_releases"]) or "none")
    legend = note("Benchmark images that are also in the model's training release. A model without a known release has the status unknown.")
    cells = [(benchmark.replace("_", " "), model, *values) for (benchmark, model), values in found.items()]
    return join([legend, table("Leak check", ("Benchmark", "Model", "Status", "Leaking images", "Releases compared"), cells, numeric=[3])])


def _failures(info: Mapping[str, Any]) -> list[Section]:
    failed = [(cell["model"]["label"], cell["target"], cell["failure"]) for cell in info["cells"] if cell["failure"]]
    return [Section("failures", "Not scored", table("Models without a score", ("Model", "Benchmark", "Reason"), failed))] if failed else []


def _all_scores(rows: Sequence[Row]) -> Markup:
    header = ("Model", "Parameters", "Metric", "Value", "95 % interval", "Chance", "Majority", "Images", "Method")
    tasks = dict.fromkeys((row["benchmark"], row["task"]) for row in rows)
    parts = []
    for benchmark, task in tasks:
        chosen = [row for row in rows if (row["benchmark"], row["task"]) == (benchmark, task)]
        name = f"{benchmark.replace('_', ' ')}, {task.replace('_', ' ')}"
        parts.append(
            details(f"{name}: {number(len(chosen))} measurements", table(name, header, map(_cells, chosen), (3, 4, 5, 6, 7), "dense"))
        )
    return join(parts)


def _cells(row: Row) -> tuple[str, ...]:
    parameters = ", ".join(f"{name} {value}" for name, value in row["parameters"].items())
    levels = [_value(row, name) for name in ("value", "chance", "majority")]
    interval = f"{_value(row, 'ci_low')} to {_value(row, 'ci_high')}"
    method = f"{row['interval_method'].replace('_', ' ')}, {describe_units(row['num_units'], row['interval_unit'])}"
    names = (row["model"], parameters, row["metric"].replace("_", " "))
    return (*names, levels[0], interval, *levels[1:], number(row["num_images"]), method)


def _value(row: Row, name: str) -> str:
    value = row[name]
    if value is None:
        return "—"
    return percent(value) if row["metric"] in _ACCURACIES else f"{value:.3g}"


def _interval(row: Row) -> str:
    chance = "" if row["chance"] is None else f"; chance {percent(row['chance'])}"
    over = describe_units(row["num_units"], row["interval_unit"])
    return f"95 % interval {percent(row['ci_low'])} to {percent(row['ci_high'])} over {over}{chance}"
