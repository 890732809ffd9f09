"""The commands `train` and `evaluate` beside a real MLflow server: killed at any moment, one run each with everything in it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bioclip.releases import Release
from bioclip.settings import TrackingSettings
from flows.commands.health.check import Status
from flows.commands.health.tracking import check_mlflow
from tasks.tracking.client import Tracker
from tests.tracking.mlflow_server import MlflowServer, metrics_of, params_of, tags_of
from tests.training.conftest import TINY_MODEL
from tests.training.sample_release import write_release

pytestmark = [pytest.mark.service, pytest.mark.xdist_group("mlflow"), pytest.mark.usefixtures("use_shared_prefect")]
_NUM_STEPS = 150
_TIMEOUT_S = 300


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return write_release(tmp_path_factory.mktemp("release"))


class Workspace:
    """A workspace with a release, whose models are logged to one experiment of a server."""

    def __init__(self, folder: Path, release: Release, server: MlflowServer, experiment: str) -> None:
        self.folder, self.release, self.server, self.experiment = folder, release, server, experiment
        shutil.copytree(Path(release.storage.root).parent, folder / "releases")
        self.settings = folder / "settings.yaml"
        training = {"model": TINY_MODEL.model_dump(mode="json"), "num_steps": _NUM_STEPS, "batch_size": 16, "warmup_steps": 2}
        tree: dict[str, Any] = {
            "workspace": {"uri": str(folder)},
            "tracking": {
                "uri": server.url,
                "experiment": experiment,
                "registered_model": experiment,
                "system_metrics_every_s": 1,
                "timeout_s": 60,
            },
            "training": training | {"num_threads": 1, "checkpoint_every_steps": 20, "log_every_steps": 1},
            "evaluation": {"caption_types": ["sci", "taxon"], "shots": [1], "num_folds": 1, "num_bootstraps": 20},
        }
        self.settings.write_text(yaml.safe_dump(tree))

    def start(self, command: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "flows.commands.cli", command, "--release", self.release.version, "--settings", str(self.settings)]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, command: str) -> str:
        """What a command printed, standard error included; it must succeed."""
        printed, said = self.start(command).communicate(timeout=_TIMEOUT_S)
        assert "Traceback" not in said, said
        return printed + said

    def wait_until(self, process: subprocess.Popen[str], has_come: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _TIMEOUT_S
        while not has_come():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def pause_training(self, process: subprocess.Popen[str], num_lines: int) -> int:
        """Stop the trainer once its log has `num_lines` lines and wait until MLflow has as many steps; returns its process id."""
        self.wait_until(process, lambda: self._num_lines() >= num_lines)
        trainer = self._trainer()
        os.kill(trainer, signal.SIGSTOP)
        self.wait_until(process, lambda: self.num_logged() >= num_lines)
        return trainer

    def _num_lines(self) -> int:
        return sum(path.read_bytes().count(b"\n") for path in self.folder.glob(".state/logs/training-*[0-9].jsonl"))

    def _trainer(self) -> int:
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"bioclip.training" in words and any(word.startswith(bytes(self.folder)) for word in words):
                    return int(entry.name)
        raise AssertionError("the trainer is not running")

    def num_logged(self) -> int:
        """Steps that MLflow has."""
        runs = self.server.runs(self.experiment) if self._has_experiment() else []
        return len(self.server.steps(runs[0])) if runs else 0

    def _has_experiment(self) -> bool:
        found = self.server.request("POST", "experiments/search", {"max_results": 100})
        return any(one["name"] == self.experiment for one in found.get("experiments", []))


@pytest.fixture
def workspace(tmp_path: Path, release: Release, mlflow_server: MlflowServer, request: pytest.FixtureRequest) -> Workspace:
    return Workspace(tmp_path, release, mlflow_server, f"of-{request.node.name[:40]}")


def artifacts(server: MlflowServer, run: dict[str, Any]) -> set[str]:
    found = server.request("GET", f"artifacts/list?run_id={run['info']['run_id']}")
    return {one["path"] for one in found["files"]}


@pytest.mark.nightly
def test_a_training_killed_and_resumed_is_one_run_with_every_step_and_its_model(workspace: Workspace) -> None:
    server = workspace.server
    first = workspace.start("train")
    trainer = workspace.pause_training(first, 30)
    run = server.only_run(workspace.experiment)
    assert run["info"]["status"] == "RUNNING"
    for pid in (first.pid, trainer):
        os.kill(pid, signal.SIGKILL)
    first.communicate()
    printed = workspace.run("train")
    assert f"MLflow run of model {tags_of(run)['treeoflife.model_id']}: {server.url}/#/experiments/" in printed
    again = server.only_run(workspace.experiment)
    assert again["info"]["run_id"] == run["info"]["run_id"]
    assert again["info"]["status"] == "FINISHED"
    assert server.steps(again) == list(range(1, _NUM_STEPS + 1))
    _check_training(server, again, workspace)
    workspace.run("evaluate")
    (evaluation,) = [one for one in server.runs(workspace.experiment) if one["info"]["run_id"] != run["info"]["run_id"]]
    _check_evaluation(server, evaluation, again)


def _check_training(server: MlflowServer, run: dict[str, Any], workspace: Workspace) -> None:
    assert {"loss.png", "README.md", "model.json", "metrics.jsonl"} <= artifacts(server, run)
    assert params_of(run)["training.model.name"] == "tiny"
    assert int(params_of(run)["num_parameters"]) > 0
    tags = tags_of(run)
    assert {
        "treeoflife.torch",
        "treeoflife.open_clip",
        "treeoflife.hardware",
        "prefect.flow_run_id",
        "prefect.flow_run_name",
    } <= tags.keys()
    metrics = metrics_of(run)
    assert {"summary/loss_last", "summary/hours", "system/process_memory_megabytes", "system/cpu_utilization_percentage"} <= metrics.keys()
    (output,) = run["outputs"]["model_outputs"]
    found = server.request("GET", f"registered-models/get?name={workspace.experiment}")["registered_model"]
    (version,) = found["latest_versions"]
    assert version["run_id"] == run["info"]["run_id"]
    described = server.url + f"/ajax-api/2.0/mlflow/logged-models/{output['model_id']}/artifacts/files?artifact_file_path=MLmodel"
    with urllib.request.urlopen(described, timeout=60) as response:  # noqa: S310
        signature = yaml.safe_load(response)["signature"]
    assert '"name": "image"' in signature["inputs"]
    assert "[-1, 3, 32, 32]" in signature["inputs"]


def _check_evaluation(server: MlflowServer, run: dict[str, Any], training: dict[str, Any]) -> None:
    assert run["info"]["status"] == "FINISHED"
    assert tags_of(run)["mlflow.parentRunId"] == training["info"]["run_id"]
    assert "| benchmark | measure | score | 95 % interval |" in tags_of(run)["mlflow.note.content"]
    (dataset,) = run["inputs"]["dataset_inputs"]
    assert dataset["tags"] == [{"key": "mlflow.data.context", "value": "evaluation"}]
    whole = server.request("GET", f"runs/get?run_id={run['info']['run_id']}")["run"]
    (model,) = whole["inputs"]["model_inputs"]
    assert model["model_id"] == training["outputs"]["model_outputs"][0]["model_id"]
    of_model = server.request("GET", f"logged-models/{model['model_id']}")["model"]["data"]["metrics"]
    assert {metric["run_id"] for metric in of_model} == {run["info"]["run_id"]}
    scores = {name for name in metrics_of(run) if not name.startswith(("system/", "encoding/"))}
    assert 3 <= len(scores) <= 60
    assert all("ci_low" not in name for name in scores)


@pytest.mark.nightly
def test_a_training_succeeds_while_mlflow_is_dead_and_the_same_command_logs_it_later(workspace: Workspace) -> None:
    server = workspace.server
    training = workspace.start("train")
    trainer = workspace.pause_training(training, 10)
    server.kill()
    os.kill(trainer, signal.SIGCONT)
    _, said = training.communicate(timeout=_TIMEOUT_S)
    assert training.returncode == 0, said
    (sentence,) = [line for line in said.splitlines() if "does not answer" in line]
    assert sentence.endswith("the next run of the same command logs them.")
    (weights,) = workspace.folder.glob("models/*/*.safetensors")
    assert weights.stat().st_size
    server.start()
    assert "(reused)" in workspace.run("train")
    run = server.only_run(workspace.experiment)
    assert run["info"]["status"] == "FINISHED"
    assert server.steps(run) == list(range(1, _NUM_STEPS + 1))
    lines = [json.loads(line) for path in workspace.folder.glob(".state/logs/*.jsonl") for line in path.read_text().splitlines()]
    assert int(run["info"]["end_time"]) == round(1000 * max(line["time"] for line in lines)), "the run ends with the training"


def test_a_deleted_experiment_stops_a_command_before_it_starts(workspace: Workspace) -> None:
    server = workspace.server
    created = server.request("POST", "experiments/create", {"name": workspace.experiment})
    server.request("POST", "experiments/delete", created)
    training = workspace.start("train")
    _, said = training.communicate(timeout=_TIMEOUT_S)
    assert training.returncode == 1
    assert said.startswith(
        f"treeoflife: error: MLflow: experiment '{workspace.experiment}' of MLflow at {server.url} is deleted; restore it"
    )
    assert said.count("\n") == 1
    assert not list(workspace.folder.glob(".state/logs/*"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own, of SQLAlchemy
def test_a_deleted_experiment_of_the_embedded_store_is_found_too(tmp_path: Path) -> None:
    settings = TrackingSettings(experiment="mine")
    assert check_mlflow(settings, tmp_path).status == Status.OK
    tracker = Tracker(settings, tmp_path)
    assert check_mlflow(settings, tmp_path).status == Status.OK
    tracker.client.delete_experiment(tracker.experiment_id)
    found = check_mlflow(settings, tmp_path)
    assert found.status == Status.FAIL
    assert "experiment 'mine'" in found.found
    assert "is deleted" in found.found
