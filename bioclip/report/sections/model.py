"""Sections on the model: training curve and scores."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from bioclip.records import RANKS
from bioclip.report.charts.lines_and_dots import Dot, Series, curves_chart, dots_chart
from bioclip.report.data.report_data import BenchmarkFacts, ReportData, Score, ScoreSummary, TrainingSummary
from bioclip.report.html.markup import Markup, element, figure, join, name_of, number, percent, table
from bioclip.report.sections.section import Section, note

MAIN_METRIC = "top1"
"""What charts show where a task has it; the table shows every metric."""
PREFERRED_CAPTION_TYPE = "taxon_com"
METRIC_TITLES = {"top1": "top-1 accuracy", "top5": "top-5 accuracy", "macro_top1": "top-1 accuracy, mean over classes"}
TASK_TITLES = {"zero_shot": "zero-shot", "few_shot": "SimpleShot"}
MAX_OPEN_ROWS = 24
_Chart = tuple[str, str, list[Dot]]


def training_section(data: ReportData) -> Section:
    """Loss and learning rate over the steps."""
    training = data.training
    if training is None:
        return Section("training", "Training", None, "No model has been trained on this release yet.")
    facts = _facts_table(f"Model {training.model_id} as its run describes it", training.facts)
    if not (panels := _panels(training)):
        return Section("training", "Training", join([note("The run wrote no metrics."), facts]), "")
    first, last = training.points[0], training.points[-1]
    caption = (
        "Training loss and learning rate; "
        f"the loss went from {first[1]:.4g} at step {number(first[0])} to {last[1]:.4g} at step {number(last[0])}."
    )
    chart = figure(caption, curves_chart(panels))
    return Section("training", "Training", join([chart, facts]), "")


def _panels(training: TrainingSummary) -> list[Series]:
    losses = Series("training loss", tuple((step, loss) for step, loss, _ in training.points if math.isfinite(loss)))
    rates = Series("learning rate", tuple((step, rate) for step, _, rate in training.points if math.isfinite(rate)))
    return [series for series in (losses, rates) if series.points]


def _facts_table(caption: str, facts: Sequence[tuple[str, str]]) -> Markup:
    rows = table(caption, ("Key", "Value"), [(element("code", name_of(key)), name_of(value, 90)) for key, value in facts], class_="dense")
    return element("details", element("summary", caption), rows)


def scores_section(data: ReportData) -> Section:
    """Charts and a table of every score, benchmark by benchmark; benchmarks without scores say why."""
    scores = data.scores
    if scores is None:
        return Section("scores", "Scores", None, "No model has been evaluated on this release yet.")
    if not (scores.scores or scores.benchmarks):
        return Section("scores", "Scores", None, "The evaluation holds no benchmark.")
    legend = note(
        element("span", class_="key dot"),
        "score with its 95 % interval, ",
        element("span", class_="key chance"),
        "chance level. Where the interval reaches chance, the score is no evidence that the model does better than guessing.",
    )
    names = dict.fromkeys([*(facts.name for facts in scores.benchmarks), *(score.benchmark for score in scores.scores)])
    parts = [_benchmark(name, scores) for name in names]
    facts = _facts_table(f"Evaluation {scores.evaluation_id} as it describes itself", scores.facts)
    return Section("scores", "Scores", join([legend, *parts, facts]), "")


def _benchmark(name: str, summary: ScoreSummary) -> Markup:
    facts = next((facts for facts in summary.benchmarks if facts.name == name), None)
    scores = [score for score in summary.scores if score.benchmark == name]
    num_images = facts.num_images if facts else max(score.num_images for score in scores)
    num_classes = facts.num_classes if facts else max(score.num_classes for score in scores)
    heading = element("h3", name_of(name), element("span", f" {number(num_images)} images, {number(num_classes)} classes", class_="unit"))
    if not scores:
        return join([heading, element("p", f"No scores: {facts.reason if facts else ''}", class_="absent")])
    charts = [figure(title, dots_chart(f"{name}: {title}", dots, metric)) for title, metric, dots in _charts(scores)]
    left_out = [note(sentence) for sentence in _left_out(facts)] if facts else []
    return join([heading, *left_out, element("div", *charts, class_="charts"), _score_table(name, scores)])


def _left_out(facts: BenchmarkFacts) -> Iterator[str]:
    if facts.dropped:
        reasons = ", ".join(f"{number(count)} {reason}" for reason, count in sorted(facts.dropped.items()))
        yield f"Images of split {facts.split} that take no part: {reasons}."
    for shots in facts.few_shot:
        if shots.get("left_out_images"):
            yield (
                f"{shots['shots']}-shot: {number(shots['left_out_classes'])} classes ({number(shots['left_out_images'])} images) "
                "have too few images and are left out."
            )


def _charts(scores: Sequence[Score]) -> Iterator[_Chart]:
    zero = _main([score for score in scores if score.task == "zero_shot"])
    few = _main([score for score in scores if score.task == "few_shot"])
    if zero:
        lowest = max((score.rank for score in zero), key=_depth)
        captions = [score for score in zero if score.rank == lowest]
        yield f"Zero-shot by caption type ({lowest})", _metric(captions[0]), [_dot(score.caption_type, score) for score in captions]
        types = [score.caption_type for score in zero]
        shown = PREFERRED_CAPTION_TYPE if PREFERRED_CAPTION_TYPE in types else types[0]
        ranked = sorted((score for score in zero if score.caption_type == shown), key=lambda score: _depth(score.rank))
        if len(ranked) > 1:
            yield f"Zero-shot by rank (captions {shown})", _metric(ranked[0]), [_dot(score.rank, score) for score in ranked]
    if few:
        yield "SimpleShot by support images per class", _metric(few[0]), [_dot(f"{score.shots}-shot", score) for score in few]


def _depth(rank: str) -> int:
    return RANKS.index(rank) if rank in RANKS else -1


def _main(scores: Sequence[Score]) -> list[Score]:
    metrics = {score.metric for score in scores}
    main = MAIN_METRIC if MAIN_METRIC in metrics else min(metrics, default="")
    return [score for score in scores if score.metric == main]


def _metric(score: Score) -> str:
    return METRIC_TITLES.get(score.metric, score.metric)


def _dot(title: str, score: Score) -> Dot:
    return Dot(title, score.value, score.ci_low, score.ci_high, score.chance)


def _score_table(name: str, scores: Sequence[Score]) -> Markup:
    header = ("Task", "Captions", "Rank", "Shots", "Metric", "Score", "95 % interval", "Chance", "Images", "Classes")
    rows = table(f"All scores on {name}", header, map(_score_row, scores), numeric=(3, 5, 6, 7, 8, 9), class_="dense")
    if len(scores) <= MAX_OPEN_ROWS:
        return rows
    return element("details", element("summary", f"All {number(len(scores))} scores on {name}"), rows)


def _score_row(score: Score) -> tuple[str, ...]:
    interval = f"{percent(score.ci_low)} – {percent(score.ci_high)}" if score.ci_low is not None and score.ci_high is not None else "—"
    return (
        TASK_TITLES.get(score.task, score.task),
        score.caption_type or "—",
        score.rank or "—",
        str(score.shots) if score.shots else "—",
        score.metric,
        percent(score.value),
        interval,
        percent(score.chance, digits=2) if score.chance is not None else "—",
        number(score.num_images),
        number(score.num_classes),
    )
