"""Prompts of the taxa of a rank, against a plain loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bioclip.evaluation.benchmark import SpeciesClass
from bioclip.evaluation.tasks.rank_prompts import run
from bioclip.evaluation.tasks.task import TaskInput
from bioclip.records import RANKS
from bioclip.settings import EvaluationSettings
from tests.evaluation.test_zero_shot import CLASSES


class LetterTexts:
    """A text encoder whose features depend on the text alone."""

    no_texts, logit_scale = "", 9.0

    def measure_texts(self, texts: Sequence[str]) -> None:
        """It has no context."""

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        rows = [np.random.default_rng(sum(ord(letter) * place for place, letter in enumerate(text))).normal(size=8) for text in texts]
        return np.array([row / np.linalg.norm(row) for row in rows], dtype=np.float32)


class Benchmark:
    """The part of a benchmark that the task reads."""

    def __init__(self, classes: Sequence[SpeciesClass]) -> None:
        self.classes = tuple(classes)


def test_each_taxon_of_a_rank_is_one_answer_with_its_own_caption() -> None:
    random = np.random.default_rng(5)
    images = random.normal(size=(30, 8)).astype(np.float32)
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    labels = random.integers(len(CLASSES), size=30)
    settings = EvaluationSettings(caption_types=("taxon",), ranks=("class", "family", "species"), metrics=("top1",))
    benchmark: Any = Benchmark(CLASSES)
    result = run(TaskInput(benchmark, tuple(map(str, range(30))), images, labels, LetterTexts(), settings))
    assert [(m.task, m.parameters["rank"]) for m in result.measurements] == [("rank_prompts", "class"), ("rank_prompts", "family")]
    for measurement in result.measurements:
        depth = RANKS.index(str(measurement.parameters["rank"])) + 1
        paths = sorted({c.lineage[:depth] for c in CLASSES})
        heads = LetterTexts().encode_texts([f"a photo of {' '.join(filter(None, path))}." for path in paths])
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            truth = CLASSES[label].lineage[:depth]
            assert measurement.statistic.trials[number] == bool(truth[-1])  # type: ignore[attr-defined]
            if truth[-1]:
                assert measurement.statistic.hits[number] == (paths[int((heads @ image).argmax())] == truth)  # type: ignore[attr-defined]


def test_a_rank_with_one_taxon_asks_nothing() -> None:
    settings = EvaluationSettings(caption_types=("taxon",), ranks=("kingdom",))
    benchmark: Any = Benchmark(CLASSES[:3])
    labels = np.zeros(4, dtype=np.int64)
    assert not run(TaskInput(benchmark, ("a",) * 4, np.eye(4, 8, dtype=np.float32), labels, LetterTexts(), settings)).measurements
