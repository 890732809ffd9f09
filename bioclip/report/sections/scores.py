"""Scores of the model on each benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from bioclip.evaluation.results import DEFAULT_METHOD, describe_shared_prompts, describe_units
from bioclip.models.text_context import describe_cut_texts
from bioclip.records import RANKS
from bioclip.report.charts.lines_and_dots import ScorePoint, dots_chart
from bioclip.report.data.model_runs import headline_scores, preferred_captions, rank_depth, with_main_metric
from bioclip.report.data.report_data import BenchmarkFacts, ReportData, Score, ScoreSummary
from bioclip.report.html.components import absent, details, figure, group, heading, join, name_of, note, span, table
from bioclip.report.html.section import Section
from bioclip.report.html.text import number, percent, shorten
from bioclip.report.sections.training import facts_table

METRIC_TITLES = {"top1": "top-1 accuracy", "top5": "top-5 accuracy", "macro_top1": "top-1 accuracy, mean over classes"}
METHOD_TITLES = {
    "wilson": "Wilson",
    "wilson_stratified": "Wilson with the variance within classes",
    "wilson_jackknife": "Wilson with the jackknife variance",
    "wilson_nested": "Wilson with the nested variance of support and query",
    "percentile_bootstrap": "percentile bootstrap",
    "cluster_bootstrap": "cluster bootstrap",
    "clopper_pearson": "Clopper-Pearson",
}
UNIT_TITLES = {"image": "images", "observation": "observations", "species": "species"}
TASK_TITLES = {"zero_shot": "zero-shot"}
MAX_OPEN_ROWS = 24
MAX_HEADLINES = 4
_Chart = tuple[str, str, list[ScorePoint]]


def scores_section(data: ReportData) -> Section:
    """Charts and a table of every score by benchmark; a benchmark without scores states why."""
    scores = data.scores
    if scores is None:
        return Section("scores", "Scores", None, "No model has been evaluated on this release yet.")
    if not (scores.scores or scores.benchmarks):
        return Section("scores", "Scores", None, "The evaluation holds no benchmark.")
    legend = note(
        span("", "key dot"),
        "score with its 95 % interval, ",
        span("", "key chance"),
        "chance level. If the interval includes the chance level, the score is no evidence that the model is better than guessing. ",
        *_describe_intervals(scores.scores),
    )
    names = dict.fromkeys([*(facts.name for facts in scores.benchmarks), *(score.benchmark for score in scores.scores)])
    parts = [_benchmark(name, scores) for name in names]
    facts = facts_table(f"Evaluation {scores.evaluation_id}: contents of scores.json", scores.facts)
    return Section("scores", "Scores", join([legend, *parts, facts]))


def _describe_intervals(scores: Sequence[Score]) -> list[str]:
    """Method and unit of the intervals, by benchmark."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for score in scores:
        if score.method and score.ci_low is not None:
            found.setdefault((score.method, score.interval_unit), {})[title_of(score.benchmark)] = None
    sentences = [
        f"{METHOD_TITLES.get(method, method)} over {UNIT_TITLES.get(unit, unit)} ({', '.join(names)})"
        for (method, unit), names in found.items()
    ]
    return [f"Methods of the intervals: {'; '.join(sentences)}."] if sentences else []


def headline_tiles(data: ReportData) -> list[tuple[str, str]]:
    """(what, score) of each benchmark for the head of the page."""
    chosen = headline_scores(data.scores.scores if data.scores else ())
    return [(_headline_title(name, score), percent(score.value)) for name, score in list(chosen.items())[:MAX_HEADLINES]]


def _headline_title(name: str, score: Score) -> str:
    given = [f"zero-shot {_metric(score)} ({', '.join(filter(None, (score.rank, score.caption_type)))})"]
    if score.ci_low is not None and score.ci_high is not None:
        given.append(f"95 % interval {percent(score.ci_low)} to {percent(score.ci_high)}{_over(score)}")
    if score.chance is not None:
        given.append(f"chance {percent(score.chance)}")
    return f"{shorten(title_of(name), 40)}: {', '.join(given)}"


def title_of(benchmark: str) -> str:
    """The name of a benchmark in words."""
    return benchmark.replace("heldout", "held-out").replace("_", " ")


def _over(score: Score) -> str:
    return f" over {_units(score)}" if score.num_units else ""


def _units(score: Score) -> str:
    return describe_units(score.num_units, score.interval_unit)


def _benchmark(name: str, summary: ScoreSummary) -> Markup:
    facts = next((facts for facts in summary.benchmarks if facts.name == name), None)
    scores = [score for score in summary.scores if score.benchmark == name]
    num_images = facts.num_images if facts else max(score.num_images for score in scores)
    num_classes = facts.num_classes if facts else max(score.num_classes for score in scores)
    title = heading(name_of(name), f"{number(num_images)} images, {number(num_classes)} classes")
    if not scores:
        return join([title, absent(f"No scores: {facts.reason if facts else ''}")])
    charts = [figure(caption, dots_chart(f"{name}: {caption}", dots, metric)) for caption, metric, dots in _charts(scores)]
    left_out = [note(sentence) for sentence in _left_out(facts)] if facts else []
    return join([title, *left_out, group("charts", *charts), _score_table(name, scores)])


def _left_out(facts: BenchmarkFacts) -> Iterator[str]:
    if facts.dropped:
        reasons = ", ".join(f"{number(count)} {reason}" for reason, count in sorted(facts.dropped.items()))
        yield f"Images of split {facts.split} that are not scored: {reasons}."
    for shots in facts.few_shot:
        if shots.get("left_out_images"):
            classes, images = number(shots["left_out_classes"]), number(shots["left_out_images"])
            yield f"{shots['shots']}-shot{_at_rank(shots)}: {classes} classes ({images} images) have too few images and are not scored."
    if facts.shared_prompts:
        yield describe_shared_prompts(facts.shared_prompts)
    if facts.cut_captions:
        yield describe_cut_texts(facts.cut_captions)


def _at_rank(shots: Mapping[str, Any]) -> str:
    rank = shots.get("rank", RANKS[-1])
    return "" if rank == RANKS[-1] else f" ({rank})"


def _charts(scores: Sequence[Score]) -> Iterator[_Chart]:
    zero = with_main_metric([score for score in scores if score.task == "zero_shot"])
    few = with_main_metric([score for score in scores if score.task == "few_shot"])
    if zero:
        lowest = max((score.rank for score in zero), key=rank_depth)
        captions = [score for score in zero if score.rank == lowest]
        yield f"Zero-shot by caption type ({lowest})", _metric(captions[0]), [_dot(score.caption_type, score) for score in captions]
        shown = preferred_captions(zero)
        ranked = sorted((score for score in zero if score.caption_type == shown), key=lambda score: rank_depth(score.rank))
        if len(ranked) > 1:
            yield f"Zero-shot by rank (captions {shown})", _metric(ranked[0]), [_dot(score.rank, score) for score in ranked]
    for classifier, rank in dict.fromkeys((score.classifier, score.rank) for score in few):
        chosen = [score for score in few if (score.classifier, score.rank) == (classifier, rank)]
        at = "" if rank in {"", RANKS[-1]} else f" ({rank})"
        title = f"{_title_of_classifier(chosen[0])} by support images per class{at}"
        yield title, _metric(chosen[0]), [_dot(f"{score.shots}-shot", score) for score in chosen]


def _title_of_classifier(score: Score) -> str:
    return "SimpleShot" if score.classifier == DEFAULT_METHOD else score.classifier


def _metric(score: Score) -> str:
    return METRIC_TITLES.get(score.metric, score.metric)


def _dot(title: str, score: Score) -> ScorePoint:
    return ScorePoint(title, score.value, score.ci_low, score.ci_high, score.chance)


def _score_table(name: str, scores: Sequence[Score]) -> Markup:
    header = (
        "Task",
        "Captions",
        "Rank",
        "Shots",
        "Metric",
        "Score",
        "95 % interval",
        "Over",
        "Method",
        "Chance",
        "Majority",
        "Images",
        "Classes",
    )
    rows = table(f"All scores on {name}", header, map(_score_row, scores), numeric=(3, 5, 6, 7, 9, 10, 11, 12), class_="dense")
    if len(scores) <= MAX_OPEN_ROWS:
        return rows
    return details(f"All {number(len(scores))} scores on {name}", rows)


def _score_row(score: Score) -> tuple[str, ...]:
    interval = f"{percent(score.ci_low)} – {percent(score.ci_high)}" if score.ci_low is not None and score.ci_high is not None else "—"
    return (
        _title_of_classifier(score) if score.classifier else TASK_TITLES.get(score.task, score.task),
        score.caption_type or "—",
        score.rank or "—",
        str(score.shots) if score.shots else "—",
        score.metric,
        percent(score.value),
        interval,
        _units(score) if score.num_units else "—",
        METHOD_TITLES.get(score.method, score.method) or "—",
        percent(score.chance, digits=2) if score.chance is not None else "—",
        percent(score.majority, digits=2) if score.majority is not None else "—",
        number(score.num_images),
        number(score.num_classes),
    )
