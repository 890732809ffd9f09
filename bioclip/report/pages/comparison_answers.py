"""The section of a comparison on the answers of each model: charts, classes and photographs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from bioclip.evaluation.statistics.limits import wilson
from bioclip.report.charts.answer_charts import NUM_HUES, confusion_chart, map_chart, reliability_chart, risk_chart
from bioclip.report.charts.svg import standalone
from bioclip.report.data.answer_counts import MAX_GROUPS, Answers
from bioclip.report.data.counting import most_frequent
from bioclip.report.data.prediction_summary import BenchmarkPredictions, ClassAccuracy, Prediction
from bioclip.report.data.shown_answers import ShownAnswers
from bioclip.report.html.components import absent, columns, figure, group, heading, join, minor_heading, name_of, note, span, table
from bioclip.report.html.photographs import tile
from bioclip.report.html.section import Section
from bioclip.report.html.text import count_of, decimal, number, percent

Chart = tuple[str, str, Markup, tuple[tuple[str, str], ...]]
"""Name of its file, caption, drawing and legend."""


def answers_section(shown: Sequence[ShownAnswers]) -> Section:
    """Charts and photographs of those that are pictured; the others are named."""
    if not shown:
        return Section("answers", "Answers", None, "No model has a score.")
    parts = [_pair(one) for one in shown if one.is_pictured]
    if rest := ", ".join(f"{one.model} on {one.benchmark}" for one in shown if not one.is_pictured):
        parts.append(note(f"Not pictured, to keep the page small: {rest}. Their answers are in outcomes.parquet of each evaluation."))
    return Section("answers", "Answers", join(parts))


def charts_of(answers: Answers | None, places: Sequence[Mapping[str, Any]] = ()) -> list[Chart]:
    """The charts of one model on one benchmark, those that its results allow."""
    found: list[Chart] = []
    if answers is not None:
        confusion = answers.confusion
        rank = "families" if confusion.rank == "family" else "classes"
        some = f", the {MAX_GROUPS} with the most images of {number(confusion.num_groups)}" if confusion.num_groups > MAX_GROUPS else ""
        title = f"Confusions of {rank}: true in rows, answered in columns{some}"
        found.append(("confusions", title, confusion_chart(confusion), ()))
        if bins := answers.bins:
            caption = "Reliability: right answers by confidence, with 95 % intervals over images; dashed: perfect calibration"
            found.append(("reliability", caption, reliability_chart(bins), ()))
        if len(answers.hits):
            half = answers.accuracy_at(0.5)
            caption = (
                f"Risk and coverage: of the most confident half {percent(half.accuracy)} are right (95 % interval {percent(half.low)} to "
                f"{percent(half.high)}); dashed: all images answered"
            )
            found.append(("risk-coverage", caption, risk_chart(answers), ()))
    if places:
        found.append(_map(places))
    return found


def chart_files(answers: Answers | None, places: Sequence[Mapping[str, Any]] = ()) -> dict[str, bytes]:
    """The same charts as SVG files by name."""
    return {f"{name}.svg": standalone(drawing, caption, keys) for name, caption, drawing, keys in charts_of(answers, places)}


def _map(places: Sequence[Mapping[str, Any]]) -> Chart:
    sizes: dict[str, int] = {}
    for row in places:
        sizes[row["group"]] = sizes.get(row["group"], 0) + 1
    names = [name for name, _ in most_frequent(sizes.items(), NUM_HUES)]
    groups = {name: place for place, name in enumerate(names)}
    keys = [(f"hue-{place}", name or "unknown") for name, place in groups.items()]
    keys += [("rest", "others")] if len(sizes) > len(names) else []
    first = places[0]
    caption = (
        f"Map of embeddings: {count_of(len(places), 'image')} on two principal components, {percent(first['explained'], digits=0)} of the "
        f"variance; colour: {first['group_rank']}"
    )
    return "embedding-map", caption, map_chart([(row["x"], row["y"], row["group"]) for row in places], groups), tuple(keys)


def _pair(one: ShownAnswers) -> Markup:
    charts = [figure(caption, drawing, keys) for _, caption, drawing, keys in charts_of(one.answers, one.places)]
    title = Markup("{} on {}").format(name_of(one.model), name_of(one.benchmark.replace("_", " ")))
    if one.answers is None:
        missing = absent("No zero-shot answers: the model encodes no texts, or the task was not run.")
        return join([heading(title), missing, group("charts", *charts)])
    summary = one.answers.summary
    right = f"{decimal(summary.num_correct)} of {count_of(summary.num_images, 'image')} right, captions {summary.caption_type}"
    return join([heading(title, right), group("charts", *charts), *_classes(summary), *_examples(summary)])


def _classes(summary: BenchmarkPredictions) -> Iterable[Markup]:
    named = (("Lowest accuracy", summary.worst), ("Highest accuracy", summary.best))
    tables = [_class_table(title, found) for title, found in named if found]
    if tables:
        yield columns(*tables)
    for title, found in named:
        tiles = [tile(photo, _share(one), label=one.name) for one in found if (photo := one.example.photo) is not None]
        if tiles:
            yield join([minor_heading(f"Classes of the {title.lower()}"), group("tiles sheet", *tiles)])


def _class_table(title: str, classes: Iterable[ClassAccuracy]) -> Markup:
    rows = [
        (name_of(one.name, 40), decimal(one.num_correct), number(one.num_images), percent(one.num_correct, one.num_images), _interval(one))
        for one in classes
    ]
    header = ("Class", "Right", "Images", "Accuracy", "95 % interval")
    return table(f"{title}; classes with three images or more", header, rows, (1, 2, 3, 4), "dense")


def _interval(one: ClassAccuracy) -> str:
    low, high = wilson(one.num_correct / one.num_images, one.num_images)
    return f"{percent(low, digits=0)} to {percent(high, digits=0)}"


def _share(one: ClassAccuracy) -> Markup:
    return span(f"{decimal(one.num_correct)} of {count_of(one.num_images, 'image')} right", "badge")


def _examples(summary: BenchmarkPredictions) -> Iterable[Markup]:
    for title, found in (("Wrong answers", summary.wrong), ("Right answers", summary.right)):
        tiles = [tile(photo, _answer(one), label=one.truth) for one in found if (photo := one.photo) is not None]
        if tiles:
            yield join([minor_heading(f"{title}: the images with the smallest ids"), group("tiles sheet", *tiles)])


def _answer(one: Prediction) -> Markup:
    if one.answer == one.truth:
        return span("answered correctly", "badge kept")
    return span(join([Markup("answer: "), name_of(one.answer, 40)]), "detail")
