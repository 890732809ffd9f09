"""The leak check of `treeoflife evaluate`: planted leaks are named and counted, and a model of unknown training says so."""

from __future__ import annotations

import json
import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from bioclip.evaluation_sets.reading import read_release_split
from bioclip.models.clip import create_model, save_model
from bioclip.models.trained import ModelInfo
from bioclip.storage import Storage
from flows.commands.cli import main
from tests.conftest import Curated
from tests.leakage.planting import reencode_jpeg
from tests.training.conftest import TINY_MODEL

MODEL_ID = "0123456789ab"
FEW = [
    "--set",
    "tracking.enabled=false",
    "--set",
    "evaluation.num_bootstraps=10",
    "--set",
    "evaluation.num_folds=1",
    "--set",
    "evaluation.shots=[1]",
    "--json",
]


@pytest.fixture(scope="module")
def workspace(curated: Curated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release, a model that names it as its training, the same model as a foreign folder, and a benchmark with three leaks."""
    root = tmp_path_factory.mktemp("leaks")
    shutil.copytree(curated.release.storage.root, root / "releases" / curated.release.version)
    weights = save_model(Storage(str(root)), f"models/{MODEL_ID}", create_model(TINY_MODEL, seed=1))
    info = ModelInfo(MODEL_ID, MODEL_ID, curated.release.version, curated.release.digest, {}, weights, 1, 1, 1, 1, 1.0, 1.0)
    (root / "models" / MODEL_ID / "model.json").write_bytes(info.to_bytes())
    shutil.copytree(root / "models" / MODEL_ID, root / "foreign")
    splits = {split: islice(read_release_split(curated.release.storage, [split]).iter_images(), 6) for split in ("train", "val")}
    leaked = [reencode_jpeg(data, 85) for _, data in islice(splits["train"], 3)]
    for number, data in enumerate([*leaked, *(data for _, data in splits["val"])]):
        path = root / "benchmark" / ("one", "two")[number % 2] / f"{'leaked' if number < 3 else 'clean'}-{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def evaluate(workspace: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = main(["evaluate", *words, "--benchmark", str(workspace / "benchmark"), "--workspace", str(workspace), *FEW])
    return code, json.loads(capsys.readouterr().out)


def test_planted_leaks_of_a_trained_model_are_counted_and_named(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = evaluate(workspace, capsys, MODEL_ID)
    assert code == 0
    leaks = answer["scores"][0]["leaks"]
    assert (leaks["status"], leaks["basis"]) == ("found", "training")
    assert (leaks["num_leaking"], leaks["num_images"]) == ({"benchmark": 3}, {"benchmark": 9})
    assert leaks["kinds"]["leak_near"] == 3
    folder = Path(answer["comparison"]["uri"])
    evidence = pq.read_table(folder / "benchmark-leaks.parquet").to_pylist()
    assert {Path(row["evaluation_record_id"]).stem for row in evidence} == {"leaked-0", "leaked-1", "leaked-2"}
    assert {row["model"] for row in evidence} == {MODEL_ID}
    assert set(pq.read_table(folder / "comparison.parquet")["num_leaking"].to_pylist()) == {3}


def test_a_leak_is_refused_where_the_settings_say_so(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = evaluate(workspace, capsys, MODEL_ID, "--set", "evaluation.on_leak=refuse")
    assert (code, answer["error"]["kind"]) == (1, "LeakageError")
    assert "3 of 9 benchmark images are among the training images of release" in answer["error"]["message"]
    assert "leaked-0.jpg" in answer["error"]["message"]


def test_a_foreign_model_is_unknown_and_a_named_release_is_searched(
    workspace: Path, curated: Curated, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = str(workspace / "foreign")
    leaks = evaluate(workspace, capsys, foreign)[1]["scores"][0]["leaks"]
    assert (leaks["status"], leaks["reason"]) == ("unknown", "the training images of the model are not known")
    leaks = evaluate(workspace, capsys, foreign, "--against", curated.release.version)[1]["scores"][0]["leaks"]
    assert (leaks["status"], leaks["basis"], leaks["num_leaking"]) == ("found", "probe", {"benchmark": 3})
    assert main(["evaluate", foreign, "--benchmark", str(workspace / "benchmark"), "--workspace", str(workspace), *FEW[:-1]]) == 0
    assert "unknown" in capsys.readouterr().out


def test_a_releases_own_benchmarks_do_not_leak(workspace: Path, curated: Curated, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    words = ["--benchmark", "known_species", "--release", curated.release.version, "--workspace", str(workspace), *FEW]
    assert main(["evaluate", MODEL_ID, *words]) == 0
    leaks = json.loads(capsys.readouterr().out)["scores"][0]["leaks"]
    assert (leaks["status"], leaks["basis"], leaks["num_leaking"]) == ("none", "training", {"known_species": 0})


def test_a_training_release_that_is_gone_leaves_the_status_unknown(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(workspace / "models", tmp_path / "models")
    shutil.copytree(workspace / "benchmark", tmp_path / "benchmark")
    leaks = evaluate(tmp_path, capsys, MODEL_ID)[1]["scores"][0]["leaks"]
    assert leaks["status"] == "unknown"
    assert leaks["reason"].endswith("of its training is not in the workspace")
