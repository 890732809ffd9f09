"""What a comparison shows of each model on each benchmark: its answers, photographs and the map of its features."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from bioclip.report.data.answer_counts import Answers, gather_answers
from bioclip.report.data.answer_photos import read_photos

if TYPE_CHECKING:
    import pyarrow as pa

    from bioclip.evaluation.benchmark import Benchmark
    from bioclip.storage import Storage

MAX_SHOWN = 6
"""Pairs of a model and a benchmark with charts and photographs, so that a page stays below a few megabytes."""


@dataclass(frozen=True)
class ShownAnswers:
    """One model on one benchmark; `answers` is None without zero-shot answers, as for a model without texts. `places` are rows of
    COMPONENTS_SCHEMA, empty without stored features. `is_pictured` is False beyond MAX_SHOWN; then no photograph and no answer is read."""

    model: str
    evaluation_id: str
    benchmark: str
    answers: Answers | None
    places: Sequence[Mapping[str, Any]] = ()
    is_pictured: bool = True


def gather_shown(pairs: Sequence[tuple[str, str, Benchmark]], places: pa.Table, storage: Storage) -> list[ShownAnswers]:
    """The pairs (label of the model, evaluation, benchmark) by benchmark, so that all models of the first one come first."""
    mapped: defaultdict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in places.to_pylist():
        mapped[row["model"], row["benchmark"]].append(row)
    answers_of = cache(lambda evaluation_id: gather_answers(storage, evaluation_id))
    names = list(dict.fromkeys(benchmark.name for _, _, benchmark in pairs))
    found = []
    for number, (model, evaluation_id, benchmark) in enumerate(sorted(pairs, key=lambda pair: names.index(pair[2].name))):
        if number >= MAX_SHOWN:
            found.append(ShownAnswers(model, evaluation_id, benchmark.name, None, is_pictured=False))
            continue
        answers = answers_of(evaluation_id).get(benchmark.name)
        pictured = None if answers is None else _with_photos(answers, benchmark)
        found.append(ShownAnswers(model, evaluation_id, benchmark.name, pictured, mapped[model, benchmark.name]))
    return found


def _with_photos(answers: Answers, benchmark: Benchmark) -> Answers:
    photos = read_photos(benchmark.images, {one.item_id for one in answers.summary.shown})
    return replace(answers, summary=answers.summary.with_photos(photos))
