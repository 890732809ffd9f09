"""Tasks, metrics, models and image sets from outside fit the evaluation's contracts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bioclip import layout
from bioclip.errors import EvaluationError, ModelError, UnknownNameError
from bioclip.evaluation import load_scores
from bioclip.evaluation.benchmark import Benchmark, SpeciesClass
from bioclip.evaluation.benchmarks import build_benchmark
from bioclip.evaluation.predictions import PREDICTION_SCHEMA, rank_answers
from bioclip.evaluation.scoring import evaluate, evaluate_on
from bioclip.evaluation_sets.evaluation_set import EvaluationSet
from bioclip.evaluation_sets.reading import read_evaluation_set
from bioclip.models.reference import ModelRef
from bioclip.models.trained import ModelInfo
from bioclip.records import RANKS
from bioclip.releases import Release
from bioclip.settings import EvaluationSetSettings, EvaluationSettings
from bioclip.storage import Storage
from tests.leakage.planting import photographs
from tests.training.conftest import TINY_MODEL

SETTINGS = EvaluationSettings(num_bootstraps=50, num_folds=2, shots=(1,), caption_types=("taxon",), ranks=("family", "species"))
OUTSIDE = "tests.evaluation.outside"


def trained(model: ModelInfo) -> ModelRef:
    return ModelRef("workspace", model.model_id)


def test_a_task_and_metrics_from_outside_fit_the_schema(release: Release, model: ModelInfo, workspace: Path) -> None:
    storage = Storage(str(workspace))
    metrics = ("top1", f"{OUTSIDE}:calibration", f"{OUTSIDE}:hierarchical_distance")
    settings = SETTINGS.model_copy(update={"metrics": metrics})

    def build() -> list[Benchmark]:
        return [replace(build_benchmark("known_species", release), tasks=("zero_shot", f"{OUTSIDE}:mean_average_precision"))]

    info = evaluate_on(settings, trained(model), build, storage).info
    rows = {row["metric"]: row for row in load_scores(storage, info.evaluation_id).rows()}
    assert set(rows) == {"top1", "ece", "hierarchical_distance", "map", "auroc"}
    assert rows["hierarchical_distance"]["value"] > 1, "values need not be shares"
    assert rows["hierarchical_distance"]["value"] == pytest.approx(2 * (1 - rows["top1"]["value"]))
    assert (rows["auroc"]["chance"], rows["auroc"]["num_classes"], rows["map"]["chance"]) == (0.5, None, None)
    assert rows["ece"]["parameters"]["bins"] == 10
    assert all(row["ci_low"] <= row["value"] <= row["ci_high"] for row in rows.values() if row["metric"] in {"map", "auroc"})
    assert info.benchmarks[0]["notes"][f"{OUTSIDE}:mean_average_precision"]["num_queries"] == 27


def test_a_name_that_is_no_task_or_metric_is_explained(release: Release, model: ModelInfo, workspace: Path) -> None:
    storage = Storage(str(workspace))
    with pytest.raises(UnknownNameError, match="metric 'f1' is not registered; known: macro_top1, top1, top5"):
        evaluate(SETTINGS.model_copy(update={"metrics": ("f1",)}), trained(model), release, storage)
    with pytest.raises(EvaluationError, match=r"metric 'tests\.evaluation\.outside:nothing' cannot be loaded"):
        evaluate(SETTINGS.model_copy(update={"metrics": (f"{OUTSIDE}:nothing",)}), trained(model), release, storage)


def test_outcomes_of_each_image_give_the_scores_back(release: Release, model: ModelInfo, workspace: Path) -> None:
    storage = Storage(str(workspace))
    info = evaluate(SETTINGS, trained(model), release, storage).info
    outcomes = pq.read_table(storage.uri(f"{info.folder}/{layout.SCORES_OUTCOMES}"))
    assert outcomes.schema.equals(PREDICTION_SCHEMA)
    for score in load_scores(storage, info.evaluation_id).rows(task="zero_shot", metric="top1"):
        chosen = [
            row
            for row in outcomes.to_pylist()
            if (row["benchmark"], row["task"], json.loads(row["parameters"])) == (score["benchmark"], "zero_shot", score["parameters"])
        ]
        assert np.mean([(row["truth_position"] == 0) / row["num_tied"] for row in chosen]) == pytest.approx(score["value"])
        assert len(chosen) == score["num_images"]
        for row in chosen:
            assert (row["top"][0] == row["truth"]) or row["truth_position"] > 0 or row["num_tied"] > 1
            assert row["top_probabilities"] == sorted(row["top_probabilities"], reverse=True)
            assert row["truth_probability"] <= row["top_probabilities"][0]
            assert sum(row["top_probabilities"]) <= 1 + 1e-5
    folds = [json.loads(row["parameters"])["fold"] for row in outcomes.to_pylist() if row["task"] == "few_shot"]
    assert set(folds) == {0, 1}


def test_a_second_evaluation_of_a_model_on_the_same_images_encodes_none(release: Release, model: ModelInfo, tmp_path: Path) -> None:
    workspace = Storage(str(tmp_path))
    for name in release.storage.list():
        workspace.write_bytes(f"releases/x/{name}", release.storage.read_bytes(name))
    source = Storage(release.storage.root.split("/releases/")[0])
    for name in source.list(model.folder):
        workspace.write_bytes(name, source.read_bytes(name))
    first = evaluate(SETTINGS, trained(model), release, workspace)
    again = evaluate(SETTINGS.model_copy(update={"num_bootstraps": 60}), trained(model), release, workspace)
    assert first.num_encoded > 0
    assert not again.reused
    assert again.num_encoded == 0
    values = [load_scores(workspace, one.info.evaluation_id).table["value"].to_pylist() for one in (first, again)]
    assert values[0] == values[1]


def trees(folder: Path) -> tuple[EvaluationSet, tuple[SpeciesClass, ...], dict[str, int]]:
    """A folder of photographs that belong to no release, one of them damaged."""
    for number, data in enumerate(photographs(6)):
        path = folder / ("robur", "rubra")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "robur" / "torn.jpg").write_bytes(b"<html>")
    images = read_evaluation_set(EvaluationSetSettings(name="trees", path=str(folder)))
    classes = tuple(sorted(SpeciesClass((*("Plantae", "", "", "", "", "Quercus"), f"Quercus {name}"), "") for name in ("robur", "rubra")))
    assert len(classes[0].lineage) == len(RANKS)
    labels = {row["item_id"]: ("robur", "rubra").index(row["label"]) for row in images.table.select(["item_id", "label"]).to_pylist()}
    return images, classes, labels


def test_any_model_is_scored_on_any_images(tmp_path: Path) -> None:
    images, classes, labels = trees(tmp_path / "trees")
    storage, model = Storage(str(tmp_path / "workspace")), ModelRef.from_settings(TINY_MODEL, seed=1)
    result = evaluate_on(SETTINGS, model, lambda: [Benchmark("trees", images, classes, labels)], storage)
    entry = result.info.benchmarks[0]
    assert (entry["num_images"], entry["dropped"]) == (6, {"image_undecodable": 1})
    assert (result.info.model_id, result.info.model, result.info.release_digest) == ("", TINY_MODEL.name, "")
    scores = load_scores(storage, result.info.evaluation_id)
    assert {row["parameters"]["rank"] for row in scores.rows()} == {"species"}, "no image has a family"
    assert scores.rows(task="zero_shot", metric="top1")[0]["majority"] == 0.5
    other = evaluate_on(SETTINGS, model, lambda: [Benchmark("trees", images, classes, labels | {min(labels): 1})], storage)
    assert not other.reused
    assert other.num_encoded == 0


def test_a_model_without_texts_is_scored_by_the_tasks_that_need_none(tmp_path: Path) -> None:
    import torch

    timm = pytest.importorskip("timm")
    torch.save(timm.create_model("resnet10t", pretrained=False, num_classes=0).state_dict(), tmp_path / "weights.pth")
    images, classes, labels = trees(tmp_path / "trees")
    storage = Storage(str(tmp_path / "workspace"))
    model = ModelRef.parse(f"timm:resnet10t:{tmp_path / 'weights.pth'}")
    info = evaluate_on(SETTINGS, model, lambda: [Benchmark("trees", images, classes, labels)], storage).info
    assert {row["task"] for row in load_scores(storage, info.evaluation_id).rows()} == {"few_shot"}
    assert "image tower" in info.benchmarks[0]["notes"]["zero_shot"]["skipped"]
    assert info.model == "weights.pth"


def test_a_table_of_embeddings_is_scored_like_a_model(tmp_path: Path) -> None:
    images, classes, labels = trees(tmp_path / "trees")
    vectors = [[1.0, 0.1 * number] if label else [0.1 * number, 1.0] for number, label in enumerate(labels.values())]
    pq.write_table(pa.table({"item_id": list(labels)[:-1], "embedding": vectors[:-1]}), tmp_path / "features.parquet")
    storage, model = Storage(str(tmp_path / "workspace")), ModelRef.parse(str(tmp_path / "features.parquet"))
    info = evaluate_on(SETTINGS, model, lambda: [Benchmark("trees", images, classes, labels)], storage).info
    assert info.benchmarks[0]["dropped"] == {"image_undecodable": 1}
    assert load_scores(storage, info.evaluation_id).rows(task="few_shot", metric="top1")[0]["value"] == 1.0
    pq.write_table(pa.table({"id": ["a"], "embedding": [[1.0]]}), tmp_path / "features.parquet")
    with pytest.raises(ModelError, match="has columns id, embedding; it needs item_id and embedding"):
        evaluate_on(SETTINGS, model, lambda: [Benchmark("trees", images, classes, labels)], storage)


def test_many_classes_are_ranked_as_a_full_sort_ranks_them() -> None:
    random = np.random.default_rng(2)
    scores = random.integers(0, 12, size=(300, 60)).astype(np.float64)
    truth = random.integers(60, size=300)
    ranked = rank_answers(scores, truth)
    order = np.argsort(-scores, axis=1, kind="stable")
    assert np.array_equal(ranked.top, order[:, :5])
    truth_score = scores[np.arange(300), truth][:, None]
    assert np.array_equal(ranked.position, (scores > truth_score).sum(axis=1))
    assert np.array_equal(ranked.num_tied, (scores == truth_score).sum(axis=1))
