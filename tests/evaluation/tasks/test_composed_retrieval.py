from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from bioclip.evaluation.tasks import composed_retrieval
from bioclip.evaluation.tasks.composed_retrieval import change_life_stage, change_species, measure_change
from bioclip.evaluation.tasks.task import TaskInput, TaskResult
from tests.evaluation.planted import CLASSES, CaptionVectors, nested_vectors, planted_input
from tests.evaluation.tasks.staged_photographs import SPECIES, staged_benchmark


def values(result: TaskResult) -> dict[tuple[object, ...], tuple[float, float]]:
    once = np.ones((1, len(result.measurements[0].statistic.takes_part)))
    return {(m.parameters["change"], m.parameters["query"], m.metric): (float(m.statistic(once)[0]), m.chance) for m in result.measurements}


def test_precision_and_recall_equal_scikit_learns_on_photographs(given: TaskInput) -> None:
    found, change = values(composed_retrieval.run(given)), change_species(given)
    heads = given.heads("taxon")
    plain: dict[str, list[tuple[float, bool]]] = {"shift": [], "sum": [], "image": [], "text": []}
    for row, target in zip(change.rows, change.target, strict=True):
        image, own, sought = given.images[row].astype(np.float64), heads[given.labels[row]], heads[target]
        for name, query in (("shift", image - own + sought), ("sum", image + sought), ("image", image), ("text", sought)):
            cosines = np.delete(given.images @ query, row)
            right = np.delete(given.labels == target, row)
            plain[name].append((average_precision_score(right, cosines), bool(right[cosines.argmax()])))
    for name, rows in plain.items():
        assert found["species", name, "map"][0] == pytest.approx(np.mean([one for one, _ in rows]), abs=1e-6)
        assert found["species", name, "recall_at_1"][0] == pytest.approx(np.mean([hit for _, hit in rows]))
    assert found["species", "shift", "recall_at_1"][1] == pytest.approx(3 / 26)


def test_the_sought_species_is_of_the_lowest_taxon_that_has_another() -> None:
    labels = np.arange(len(CLASSES)).repeat(2)
    given = planted_input(np.eye(16)[labels], labels, np.eye(16))
    change = change_species(given)
    assert (change.target != labels).all()
    assert [CLASSES[one].lineage[5] for one in change.target] == [CLASSES[one].lineage[5] for one in labels]
    without_sister = replace(given, labels=labels // 4 * 4)
    families = [CLASSES[one].lineage[4] for one in change_species(without_sister).target]
    assert families != [CLASSES[one].lineage[4] for one in labels], "no other species of the genus has images"


def test_a_planted_shift_leads_from_one_species_to_another() -> None:
    """An image is the caption of its species plus a direction that four images of every species share."""
    labels, heads, individuals = np.arange(len(CLASSES)).repeat(4), nested_vectors(np.random.default_rng(3)), np.eye(4)
    images = np.concatenate([heads[labels], 0.1 * np.tile(individuals, (len(CLASSES), 1))], axis=1)
    given = planted_input(images, labels, np.pad(heads, ((0, 0), (0, 4))))
    found = {
        (m.parameters["query"], m.metric): float(m.statistic(np.ones((1, 64)))[0]) for m in measure_change(given, change_species(given))
    }
    assert found["shift", "map"] == found["shift", "recall_at_1"] == 1
    assert found["image", "map"] < 0.5


def test_a_life_stage_is_sought_within_the_species(given: TaskInput, tmp_path: Path) -> None:
    stages = ["larva", "adult", "adult", "adult", "larva", "adult", "adult", "pupa", "?", "larva", "adult", "adult"]
    benchmark = staged_benchmark(tmp_path, stages)
    encoded = given.texts.encode_images(benchmark.images.iter_images())
    labels = np.array([benchmark.labels[key] for key in encoded.ids])
    staged = replace(given, benchmark=benchmark, item_ids=encoded.ids, images=encoded.features, labels=labels)
    change = change_life_stage(staged)
    assert change.rows.tolist() == [0, 1, 3, 4, 6, 7, 9, 10], "the third species has adults alone"
    for row, target, own, sought in zip(change.rows, change.target, change.own, change.sought, strict=True):
        members = np.flatnonzero(change.groups == target)
        assert own == f"a photo of {SPECIES[row % 3]}, {stages[row]}."
        assert {f"a photo of {SPECIES[one % 3]}, {stages[one]}." for one in members.tolist()} == {sought}
        assert own != sought
    result = composed_retrieval.run(staged)
    assert result.notes["queries"] == {"species": 12, "life_stage": 8}
    assert {change for change, _, _ in values(result)} == {"species", "life_stage"}


def test_a_release_states_no_life_stage_and_one_class_is_skipped(given: TaskInput) -> None:
    assert "two life stages" in composed_retrieval.run(given).notes["life_stage"]
    assert "fewer than two classes" in composed_retrieval.run(replace(given, labels=given.labels * 0)).notes["skipped"]
    assert composed_retrieval.run(replace(given, texts=CaptionVectors({}, no_texts="none"))).notes == {"skipped": "none"}
