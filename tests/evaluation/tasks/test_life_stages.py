from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from bioclip.evaluation.benchmark import Benchmark
from bioclip.evaluation.statistics import Units, score
from bioclip.evaluation.tasks import life_stages
from bioclip.evaluation.tasks.life_stages import PLACES, KendallTau
from bioclip.evaluation.tasks.task import TaskInput
from tests.evaluation.planted import CaptionVectors
from tests.evaluation.tasks.staged_photographs import SPECIES, staged_benchmark

STAGES = ("egg", "Larva", "adult", "adult", "egg", "adult", "larva", "pupa", "adult", "imago", "", "adult", "larva", "instar 3", "adult")
"""The third species has adults alone."""


def staged_input(given: TaskInput, benchmark: Benchmark) -> TaskInput:
    encoded = given.texts.encode_images(benchmark.images.iter_images())
    labels = np.array([benchmark.labels[key] for key in encoded.ids])
    return replace(given, benchmark=benchmark, item_ids=encoded.ids, images=encoded.features, labels=labels)


def test_the_order_of_photographs_equals_scipys(given: TaskInput, tmp_path: Path) -> None:
    staged = staged_input(given, staged_benchmark(tmp_path, STAGES))
    result = life_stages.run(staged)
    found = {m.metric: m for m in result.measurements}
    agreeing = found_pairs = true_pairs = 0.0
    hits, chances = [], []
    for number in range(2):
        rows = [row for row in range(number, len(STAGES), 3) if STAGES[row].lower() in PLACES]
        stages = sorted({STAGES[row].lower() for row in rows})
        heads = staged.texts.encode_texts([f"a photo of {SPECIES[number]}, {stage}." for stage in stages])
        odds = np.exp(staged.images[rows].astype(np.float64) @ heads.T * staged.texts.logit_scale)
        expected = odds @ [PLACES[stage] for stage in stages] / odds.sum(axis=1)
        places = [PLACES[STAGES[row].lower()] for row in rows]
        signs = np.sign(np.subtract.outer(expected, expected)), np.sign(np.subtract.outer(places, places))
        assert kendalltau(expected, places).statistic == pytest.approx(
            (signs[0] * signs[1]).sum() / np.sqrt((signs[0] ** 2).sum() * (signs[1] ** 2).sum())
        )
        agreeing, found_pairs, true_pairs = (
            agreeing + (signs[0] * signs[1]).sum(), found_pairs + (signs[0] ** 2).sum(), true_pairs + (signs[1] ** 2).sum(),
        )  # fmt: skip
        hits += [stages[best] == STAGES[row].lower() for best, row in zip(odds.argmax(axis=1), rows, strict=True)]
        chances += [1 / len(stages)] * len(rows)
    once = np.ones((1, len(STAGES)))
    assert found["kendall_tau"].statistic(once)[0] == pytest.approx(agreeing / np.sqrt(found_pairs * true_pairs), abs=1e-6)
    assert found["top1"].statistic(once)[0] == pytest.approx(np.mean(hits))
    assert found["top1"].chance == pytest.approx(np.mean(chances))
    assert result.notes["unknown_stages"] == {"instar 3": 1}
    assert result.notes["images"] == len(hits) == 8
    assert all(one.ci_low <= one.value <= one.ci_high for one in score(result.measurements, 50, 1, Units.images(len(STAGES))))


def test_a_planted_order_is_found_and_equal_images_score_zero(given: TaskInput, tmp_path: Path) -> None:
    benchmark = staged_benchmark(tmp_path, STAGES)
    texts = {
        f"a photo of {name}, {stage}.": np.array([np.cos(place / 4), np.sin(place / 4)])
        for name in SPECIES
        for stage, place in PLACES.items()
    }
    places = np.array([PLACES.get(stage.lower(), 0) for stage in STAGES])
    labels = np.array(list(benchmark.labels.values()))
    images = np.stack([np.cos(places / 4), np.sin(places / 4)], axis=1).astype(np.float32)
    planted = TaskInput(benchmark, tuple(benchmark.labels), images, labels, CaptionVectors(texts), given.settings)
    once = np.ones((1, len(STAGES)))
    assert [m.statistic(once)[0] for m in life_stages.run(planted).measurements] == pytest.approx([1, 7 / 8]), (
        "an adult and an imago are a tie"
    )
    equal = replace(planted, images=np.tile(images[:1], (len(images), 1)))
    assert life_stages.run(equal).measurements[0].statistic(once)[0] == 0


def test_tau_of_resamples_equals_that_of_repeated_images() -> None:
    random = np.random.default_rng(1)
    found, true = random.normal(size=9), random.integers(3, size=9)
    statistic = KendallTau(found, true, np.zeros(9, dtype=np.int64), np.arange(9), 9)
    for row in random.integers(3, size=(5, 9)):
        assert statistic(row[None].astype(float))[0] == pytest.approx(kendalltau(found.repeat(row), true.repeat(row)).statistic)


def test_a_set_without_stages_and_a_model_without_texts_give_notes(given: TaskInput, tmp_path: Path) -> None:
    assert "two life stages" in life_stages.run(given).notes["skipped"], "a release states no life stage"
    staged = staged_input(given, staged_benchmark(tmp_path, ["adult"] * 6))
    assert "two life stages" in life_stages.run(staged).notes["skipped"]
    silent = replace(given, texts=CaptionVectors({}, no_texts="no text tower"))
    assert life_stages.run(silent).notes == {"skipped": "no text tower"}
