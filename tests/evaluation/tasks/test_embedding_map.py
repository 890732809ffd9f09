from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors

from bioclip import layout
from bioclip.errors import EvaluationError
from bioclip.evaluation import load_scores
from bioclip.evaluation.scoring import evaluate
from bioclip.evaluation.tasks import embedding_map
from bioclip.evaluation.tasks.embedding_map import EMBEDDING_MAP_SCHEMA, map_features
from bioclip.evaluation.tasks.task import TaskInput
from bioclip.models.reference import ModelRef
from bioclip.models.trained import ModelInfo
from bioclip.records import RANKS
from bioclip.releases import Release
from bioclip.settings import EvaluationSettings
from bioclip.storage import Storage


def test_the_map_of_photographs_is_stored_with_their_taxa(release: Release, model: ModelInfo, workspace: Path) -> None:
    settings = EvaluationSettings(benchmarks=("known_species", "heldout_species"), tasks=("embedding_map",), num_bootstraps=50)
    storage = Storage(str(workspace))
    info = evaluate(settings, ModelRef("workspace", model.model_id), release, storage).info
    table = pq.read_table(storage.uri(f"{info.folder}/{layout.SCORES_MAP}"))
    assert table.schema.equals(EMBEDDING_MAP_SCHEMA)
    samples = {row["record_id"]: row for row in release.samples(columns=["record_id", *RANKS]).to_pylist()}
    for row in table.to_pylist():
        assert all((row[rank] or "") == samples[row["item_id"]][rank] for rank in RANKS)
    assert table["benchmark"].to_pylist().count("known_species") == 27
    assert np.isfinite([table["x"].to_numpy(), table["y"].to_numpy()]).all()
    rows = load_scores(storage, info.evaluation_id).rows(benchmark="known_species", rank="species")
    assert {row["parameters"]["space"] for row in rows} == {"map", "features"}
    assert all(row["chance"] == pytest.approx(2 / 26) and row["num_images"] == 27 for row in rows)


def test_the_nearest_images_are_scikit_learns(given: TaskInput) -> None:
    result = embedding_map.run(given)
    nearest = NearestNeighbors(n_neighbors=2).fit(given.images).kneighbors(given.images)[1][:, 1]
    expected = (given.labels[nearest] == given.labels).mean()
    once = np.ones((1, len(given.labels)))
    found = {(m.parameters["space"], m.parameters["rank"]): float(m.statistic(once)[0]) for m in result.measurements}
    assert found["features", "species"] == pytest.approx(expected)


def test_the_coordinates_are_the_same_for_one_seed_and_keep_neighbours() -> None:
    random = np.random.default_rng(2)
    labels = np.arange(6).repeat(15)
    features = (np.eye(6, 32)[labels] + 0.1 * random.normal(size=(90, 32))).astype(np.float32)
    places = map_features(features, 17)
    assert np.array_equal(places, map_features(features, 17))
    assert trustworthiness(features, places, n_neighbors=5) > 0.9
    assert (labels[embedding_map.nearest_images(places)] == labels).mean() > 0.95


def test_few_images_equal_images_and_a_missing_package_are_explained(given: TaskInput, monkeypatch: pytest.MonkeyPatch) -> None:
    few = replace(given, item_ids=given.item_ids[:3], images=given.images[:3], labels=given.labels[:3])
    equal = replace(given, images=np.tile(given.images[:1], (len(given.labels), 1)))
    for one in (few, equal):
        assert "four images" in embedding_map.run(one).notes["skipped"]
    five = replace(given, item_ids=given.item_ids[:5], images=given.images[:5], labels=given.labels[:5] * 0)
    assert embedding_map.run(five).measurements == [], "one taxon leaves nothing to compare, the map is made"
    assert embedding_map.run(five).tables[layout.SCORES_MAP].num_rows == 5
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(EvaluationError, match="needs scikit-learn"):
        embedding_map.run(given)
