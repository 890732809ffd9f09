"""Evaluations of a grid in MLflow: one run each, a few dozen metrics with readable names, on the model and on the dataset."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bioclip.models.clip import create_model, save_model
from bioclip.settings import TrackingSettings
from bioclip.storage import Storage
from tasks.tracking.client import Tracker
from tasks.tracking.evaluations import MAX_METRICS, bounded_metrics
from tests.evaluation.test_contracts import trees
from tests.tracking.mlflow_server import MlflowServer
from tests.training.conftest import TINY_MODEL


def test_headline_scores_and_baselines_are_kept_where_there_are_too_many_metrics() -> None:
    ranks = [f"zero-shot {rank} top1" for rank in ("kingdom", "phylum", "class", "order", "family", "genus")]
    others = [f"zero-shot {caption} {rank} top1" for caption in ("sci", "com", "taxon") for rank in range(6)]
    measures = [*ranks, "zero-shot top1", "zero-shot macro_top1", *others, "chance", "majority", "1-shot top1", "5-shot top1"]
    metrics = {f"{benchmark}/{measure}": float(place) for benchmark in "abc" for place, measure in enumerate(measures)}
    found = bounded_metrics(metrics)
    assert len(found) == MAX_METRICS < len(metrics)
    for benchmark in "abc":
        kept = ("zero-shot top1", "zero-shot macro_top1", "chance", "majority", "1-shot top1", "5-shot top1")
        assert {f"{benchmark}/{measure}" for measure in kept} <= found.keys()
    assert {name: metrics[name] for name in found} == found
    assert bounded_metrics({"a/zero-shot top1": 0.5}) == {"a/zero-shot top1": 0.5}


def test_a_set_of_many_tasks_is_shown_by_its_means() -> None:
    metrics = {f"newt/task {number}/1-shot top1": number / 10 for number in range(11)} | {"birds/1-shot top1": 0.25}
    assert bounded_metrics(metrics) == {"newt mean of 11/1-shot top1": pytest.approx(0.5), "birds/1-shot top1": 0.25}


@pytest.mark.service
@pytest.mark.xdist_group("mlflow")
def test_each_evaluation_is_one_run_with_its_metrics_on_the_model_and_the_dataset(tmp_path: Path, mlflow_server: MlflowServer) -> None:
    trees(tmp_path / "trees")
    for seed, name in enumerate(("one", "two")):
        save_model(Storage(str(tmp_path)), name, create_model(TINY_MODEL, seed=seed))
    words = [
        sys.executable,
        "-m",
        "flows.commands.cli",
        "evaluate",
        str(tmp_path / "one"),
        str(tmp_path / "two"),
        "--benchmark",
        str(tmp_path / "trees"),
    ]
    words += ["--workspace", str(tmp_path / "workspace"), "--set", "evaluation.num_bootstraps=10", "--set", "evaluation.shots=[1]"]
    tracking = TrackingSettings(uri=mlflow_server.url, experiment="grid")
    words += ["--set", f"tracking.uri={tracking.uri}", "--set", f"tracking.experiment={tracking.experiment}"]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    assert f"MLflow run of one on trees: {mlflow_server.url}/#/experiments/" in done.stdout
    tracker = Tracker(tracking, tmp_path / "state")
    runs = [tracker.client.get_run(run.info.run_id) for run in tracker.client.search_runs([tracker.experiment_id])]
    assert {run.data.tags["treeoflife.model_id"] for run in runs} == {"one", "two"}
    for run in runs:
        assert {"trees/zero-shot top1", "trees/1-shot top1", "trees/chance", "trees/majority"} <= run.data.metrics.keys()
        assert len(run.data.metrics) <= MAX_METRICS
        assert run.data.tags["treeoflife.leaks"] == "unknown"
        (dataset,) = [one.dataset for one in run.inputs.dataset_inputs]
        assert (dataset.name, json.loads(dataset.profile)) == ("trees", {"trees": 7})
        (model,) = run.inputs.model_inputs
        (score,) = [one for one in tracker.client.get_logged_model(model.model_id).metrics if one.key == "trees/zero-shot top1"]
        assert (score.value, score.dataset_digest) == (run.data.metrics["trees/zero-shot top1"], dataset.digest)
    assert len({run.inputs.model_inputs[0].model_id for run in runs}) == 2
    assert "MLflow run" not in subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert len(tracker.client.search_runs([tracker.experiment_id])) == 2
