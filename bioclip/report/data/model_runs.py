"""Reads a trained model's curve and an evaluation's scores from the workspace."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bioclip import layout
from bioclip.digests import digest_bytes
from bioclip.errors import StorageError, UsageError
from bioclip.parquet import read_rows
from bioclip.records import RANKS
from bioclip.releases import Release
from bioclip.report.data.report_data import BenchmarkFacts, Score, ScoreSummary, TrainingSummary
from bioclip.storage import Storage

MAIN_METRIC = "top1"
"""The metric of the charts, for tasks that have it; the table lists every metric."""
PREFERRED_CAPTION_TYPE = "taxon_com"
MAX_POINTS = 600
MAX_FACTS = 64
_LEARNING_RATE_KEYS = ("learning_rate", "lr")
SCORE_COLUMNS = [
    "benchmark",
    "task",
    "parameters",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "chance",
    "num_images",
    "num_classes",
    "majority",
    "interval_unit",
    "interval_method",
    "num_units",
]


def gather_training(storage: Storage, model_id: str) -> TrainingSummary:
    """Loss and learning rate over the steps, at most 600 points; raises StorageError when the model does not exist."""
    data = storage.read_bytes(layout.model_info(model_id))
    metrics = f"{layout.model_dir(model_id)}/{layout.TRAINING_METRICS}"
    points = list(_points(storage, metrics)) if storage.exists(metrics) else []
    values = json.loads(data)
    ends = (values["loss_first"], values["loss_last"]) if {"loss_first", "loss_last"} <= values.keys() else None
    return TrainingSummary(model_id, digest_bytes(data), tuple(_thinned(points)), _facts(values), ends)


def gather_scores(storage: Storage, evaluation_id: str) -> ScoreSummary:
    """All rows of scores.parquet in their order; raises StorageError when the evaluation does not exist."""
    data = storage.read_bytes(layout.evaluation_info(evaluation_id))
    rows = read_rows(storage, f"{layout.evaluation_dir(evaluation_id)}/{layout.SCORES_TABLE}", SCORE_COLUMNS)
    values = json.loads(data)
    benchmarks = tuple(_benchmark(entry) for entry in values.get("benchmarks", ()))
    return ScoreSummary(evaluation_id, digest_bytes(data), benchmarks, tuple(_score(row) for row in rows), _facts(values))


def headline_scores(scores: Sequence[Score]) -> dict[str, Score]:
    """Benchmark -> its headline: zero-shot with the preferred captions at the lowest rank; benchmarks without zero-shot are left out."""
    chosen = {}
    for name in dict.fromkeys(score.benchmark for score in scores):
        if zero := with_main_metric([score for score in scores if score.benchmark == name and score.task == "zero_shot"]):
            caption_type = preferred_captions(zero)
            chosen[name] = max((score for score in zero if score.caption_type == caption_type), key=lambda score: rank_depth(score.rank))
    return chosen


def with_main_metric(scores: Sequence[Score]) -> list[Score]:
    """The scores in MAIN_METRIC, or in the first other metric if none is."""
    metrics = {score.metric for score in scores}
    main = MAIN_METRIC if MAIN_METRIC in metrics else min(metrics, default="")
    return [score for score in scores if score.metric == main]


def preferred_captions(scores: Sequence[Score]) -> str:
    """PREFERRED_CAPTION_TYPE, or the first caption type of `scores` (at least one) if it was not scored."""
    types = [score.caption_type for score in scores]
    return PREFERRED_CAPTION_TYPE if PREFERRED_CAPTION_TYPE in types else types[0]


def rank_depth(rank: str) -> int:
    """Index of a rank in RANKS, -1 for another one."""
    return RANKS.index(rank) if rank in RANKS else -1


def _benchmark(entry: Mapping[str, Any]) -> BenchmarkFacts:
    return BenchmarkFacts(
        name=entry["name"],
        split=entry["split"],
        num_images=entry["num_images"],
        num_classes=entry["num_classes"],
        reason=entry["reason"],
        dropped=dict(entry["dropped"]),
        few_shot=tuple(dict(shots) for shots in entry["few_shot"]),
        shared_prompts=entry.get("notes", {}).get("zero_shot", {}).get("shared_prompts", {}),
        cut_captions=entry.get("notes", {}).get("zero_shot", {}).get("cut_captions", {}),
    )


def check_descent(storage: Storage, release: Release, model_id: str | None, evaluation_id: str | None) -> None:
    """Raise UsageError unless the model and the evaluation belong to `release`, and the evaluation to the model."""
    asked = [("model", model_id, layout.model_info), ("evaluation", evaluation_id, layout.evaluation_info)]
    for kind, identifier, file_of in asked:
        if identifier is None:
            continue
        values = json.loads(storage.read_bytes(file_of(identifier)))
        if values.get("release_digest", release.digest) != release.digest:
            raise UsageError(
                f"{kind} {identifier!r} belongs to release {values.get('release_version')!r}, not on {release.version!r}; "
                f"report on that release or pass another {kind}."
            )
        if kind == "evaluation" and model_id is not None and values.get("model_id", model_id) != model_id:
            raise UsageError(
                f"evaluation {identifier!r} scored model {values['model_id']!r}, not {model_id!r}; pass two that belong together."
            )


def _points(storage: Storage, name: str) -> Iterator[tuple[int, float, float]]:
    with storage.reader(name) as stream:
        for line_number, line in enumerate(stream, start=1):
            try:
                row = json.loads(line)
                rate = next((float(row[key]) for key in _LEARNING_RATE_KEYS if row.get(key) is not None), math.nan)
                if row.get("loss") is not None:
                    yield int(row["step"]), float(row["loss"]), rate
            except (ValueError, KeyError, TypeError, AttributeError):
                place = storage.uri(name)
                raise StorageError(
                    f"line {line_number} of {place!r} is {line[:80]!r}; each line must be a JSON object with `step` and `loss`; "
                    "train again."
                ) from None


def _thinned(points: list[tuple[int, float, float]]) -> list[tuple[int, float, float]]:
    by_step = {point[0]: point for point in points}
    ordered = [by_step[step] for step in sorted(by_step)]
    stride = math.ceil(len(ordered) / MAX_POINTS) or 1
    return [point for index, point in enumerate(ordered) if index % stride == 0 or index == len(ordered) - 1]


def _score(row: dict[str, Any]) -> Score:
    parameters = json.loads(row["parameters"])
    return Score(
        benchmark=row["benchmark"],
        task=row["task"],
        caption_type=parameters.get("caption_type", ""),
        rank=parameters.get("rank", ""),
        shots=parameters.get("shots", 0),
        metric=row["metric"],
        value=row["value"],
        ci_low=_finite(row["ci_low"]),
        ci_high=_finite(row["ci_high"]),
        chance=_finite(row["chance"]),
        num_images=row["num_images"],
        num_classes=row["num_classes"] or 0,
        majority=_finite(row["majority"]),
        interval_unit=row["interval_unit"],
        num_units=row["num_units"],
        method=row["interval_method"],
        classifier=parameters.get("method", "simpleshot") if row["task"] == "few_shot" else "",
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, value as text) of the leaves of nested plain values, sorted by key."""
    for key in sorted(values):
        value = values[key]
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        elif isinstance(value, str):
            yield f"{prefix}{key}", value
        else:
            yield f"{prefix}{key}", json.dumps(value, sort_keys=True, ensure_ascii=False)


def _facts(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    plain = {key: value for key, value in values.items() if isinstance(value, str | int | float | Mapping)}
    return tuple(flatten(plain))[:MAX_FACTS]
