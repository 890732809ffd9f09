"""The task of zero-shot heads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bioclip.evaluation import load_scores
from bioclip.evaluation.benchmark import SpeciesClass
from bioclip.evaluation.heads.head_file import HeadStore
from bioclip.evaluation.scoring import evaluate
from bioclip.evaluation.tasks.task import TaskInput
from bioclip.evaluation.tasks.zero_shot_heads import run
from bioclip.models.reference import ModelRef
from bioclip.models.trained import ModelInfo
from bioclip.releases import Release
from bioclip.settings import EvaluationSettings
from bioclip.storage import Storage
from tests.evaluation.heads.letter_texts import LetterTexts
from tests.evaluation.test_zero_shot import CLASSES


class Benchmark:
    """The part of a benchmark that the task reads."""

    class images:  # noqa: N801 - as the attribute
        templates = ("{c} on a table",)

    texts: dict[str, tuple[str, ...]] = {}  # noqa: RUF012

    def __init__(self, classes: Sequence[SpeciesClass]) -> None:
        self.classes = tuple(classes)


def given(texts: Any, store: HeadStore | None = None, **changes: Any) -> TaskInput:
    random = np.random.default_rng(5)
    images = random.normal(size=(30, 16)).astype(np.float32)
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    settings = EvaluationSettings(caption_types=("sci",), ranks=("family", "species"), metrics=("top1",), **changes)
    benchmark: Any = Benchmark(CLASSES)
    labels = np.arange(30) % len(CLASSES)
    return TaskInput(benchmark, tuple(map(str, range(30))), images, labels, texts, settings, store)


def test_each_head_gives_scores_at_each_rank() -> None:
    heads = ("no_template", "biological_templates", "random_templates", "set_templates", "contexts")
    result = run(given(LetterTexts(), zero_shot_heads=heads))
    assert {m.parameters["head"] for m in result.measurements} == set(heads)
    assert {m.parameters["rank"] for m in result.measurements} == {"family", "species"}
    assert {m.task for m in result.measurements} == {"zero_shot_heads"}


def test_images_outside_a_clade_are_not_asked_and_are_counted() -> None:
    result = run(given(LetterTexts(), zero_shot_heads=("no_template",), within="Plantae"))
    assert result.notes["within"] == {"num_classes": 2, "images_outside": 20, "unknown_names": 0, "examples": []}
    (species,) = [m for m in result.measurements if m.parameters["rank"] == "species"]
    assert species.chance == 0.5
    (predictions,) = [one for one in result.predictions if one.parameters["rank"] == "species"]
    assert predictions.asked.sum() == 10
    assert set(predictions.outcomes("b", [str(n) for n in range(30)])["truth"].to_pylist()) == {"Prunella vulgaris", "Malus domestica"}


def test_stored_heads_give_the_same_answers_without_encoding_a_text(tmp_path: Path) -> None:
    store = HeadStore(Storage(str(tmp_path)), "m" * 64)
    first, second = LetterTexts(), LetterTexts()
    one, other = (run(given(texts, store, zero_shot_heads=("biological_templates",))) for texts in (first, second))
    assert first.num_encoded > 0
    assert second.num_encoded == 0
    for left, right in zip(one.predictions, other.predictions, strict=True):
        assert np.array_equal(left.top, right.top)
        assert np.array_equal(left.truth_probability, right.truth_probability)
    changed = LetterTexts()
    run(given(changed, store, zero_shot_heads=("random_templates",)))
    assert changed.num_encoded > 0


@pytest.mark.usefixtures("model")
def test_heads_are_scored_and_stored_in_a_workspace(release: Release, model: ModelInfo, workspace: Path) -> None:
    settings = EvaluationSettings(
        benchmarks=("known_species",),
        tasks=("zero_shot_heads",),
        caption_types=("sci",),
        ranks=("species",),
        num_bootstraps=20,
        zero_shot_heads=("no_template", "random_templates"),
    )
    storage = Storage(str(workspace))
    result = evaluate(settings, ModelRef("workspace", model.model_id), release, storage)
    rows = load_scores(storage, result.info.evaluation_id).rows(task="zero_shot_heads", metric="top1")
    assert {row["parameters"]["head"] for row in rows} == {"no_template", "random_templates"}
    assert len(list((workspace / "heads").iterdir())) == 2
