"""A run is followed while its log is written, and MLflow's absence, whenever it comes, costs neither time nor a step."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bioclip.settings import TrackingSettings
from tasks.tracking.client import DatasetInput, OpenRun, RunPlan, Tracker
from tasks.tracking.live_runs import LiveRun
from tasks.tracking.log_lines import LineQueue, create_log, earlier_logs, read_system_line, read_training_line
from tasks.tracking.system_samples import SystemSampler
from tests.services.servers import wait_until
from tests.tracking.mlflow_server import MlflowServer, metrics_of, params_of, tags_of

pytestmark = [pytest.mark.service, pytest.mark.xdist_group("mlflow")]
IDENTITY = "training-0123456789ab"


class Training:
    """A training that only writes its log, and the live run that follows it."""

    def __init__(self, folder: Path, uri: str, experiment: str, timeout_s: int = 5) -> None:
        self.folder, self.logs = folder, folder / "logs"
        self.settings = TrackingSettings(uri=uri, experiment=experiment, timeout_s=timeout_s)
        self.path = create_log(self.logs, IDENTITY)
        dataset = DatasetInput("sample-v1", "d" * 64, "file:///releases/v1", {"train": 12})
        params = {"training": {"batch_size": 16, "objectives": [{"name": "clip", "weight": 1.0}]}}
        start_ms = round(time.time() * 1000)
        self.plan = RunPlan("train-0123456789ab", "model:0123", start_ms, {"treeoflife.split": "train"}, params, dataset, "training")
        self.live = self._open()

    def _open(self) -> LiveRun:
        queue = LineQueue(read_training_line, earlier_logs(self.logs, IDENTITY, ".jsonl"))
        return LiveRun(self.settings, self.folder, self.plan, [queue], self.logs / f"{IDENTITY}.lock", "model 0123456789ab")

    def run_again(self) -> LiveRun:
        """As the next run of the flow does."""
        self.live = self._open()
        self.live.start()
        return self.live

    def write_steps(self, first: int, last: int) -> None:
        with self.path.open("a") as log:
            for step in range(first, last + 1):
                log.write(json.dumps({"time": time.time(), "step": step, "loss": 1 / step, "learning_rate": 0.1}) + "\n")

    def wait_for(self, server: MlflowServer, last: int) -> None:
        experiment = self.settings.experiment
        wait_until(lambda: self.live.tracked is not None and server.steps(server.only_run(experiment))[-1:] == [last], 120, "the steps")


def test_curves_grow_while_the_log_is_written_and_the_run_is_whole(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    training = Training(tmp_path, mlflow_server.url, "grows")
    training.live.start()
    training.write_steps(1, 3)
    training.wait_for(mlflow_server, 3)
    assert mlflow_server.only_run("grows")["info"]["status"] == "RUNNING"
    training.write_steps(4, 6)
    training.wait_for(mlflow_server, 6)

    def complete(tracker: Tracker, run: OpenRun) -> None:
        tracker.log_params(run, {"num_parameters": 7})

    assert training.live.close("FINISHED", complete) == ""
    run = mlflow_server.only_run("grows")
    assert mlflow_server.steps(run) == [1, 2, 3, 4, 5, 6]
    assert run["info"]["status"] == "FINISHED"
    assert params_of(run) == {
        "training.batch_size": "16", "training.objectives.0.name": "clip", "training.objectives.0.weight": "1.0", "num_parameters": "7"
    }  # fmt: skip
    (dataset,) = run["inputs"]["dataset_inputs"]
    assert dataset["tags"] == [{"key": "mlflow.data.context", "value": "training"}]
    assert dataset["dataset"]["name"] == "sample-v1"
    assert tags_of(run)["treeoflife.split"] == "train"
    assert int(run["info"]["end_time"]) >= int(run["info"]["start_time"])


def test_a_server_killed_in_the_middle_gets_every_step_once_it_is_back(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    training = Training(tmp_path, mlflow_server.url, "killed")
    training.live.start()
    training.write_steps(1, 20)
    training.wait_for(mlflow_server, 20)
    mlflow_server.kill()
    for step in range(21, 60):
        training.write_steps(step, step)
        time.sleep(0.05)
    mlflow_server.start()
    training.write_steps(60, 70)
    training.wait_for(mlflow_server, 70)
    assert training.live.close("FINISHED") == ""
    assert mlflow_server.steps(mlflow_server.only_run("killed")) == list(range(1, 71))


def test_a_server_that_stays_away_is_one_sentence_and_the_next_run_logs_the_rest(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    training = Training(tmp_path, mlflow_server.url, "away")
    training.live.start()
    training.write_steps(1, 5)
    training.wait_for(mlflow_server, 5)
    mlflow_server.kill()
    training.write_steps(6, 9)
    waiting = training.live.close("FINISHED")
    assert waiting == (
        f"MLflow at {mlflow_server.url} does not answer: 4 logged steps and the files of model 0123456789ab wait in the workspace and in "
        f"{training.logs}; the next run of the same command logs them."
    )
    mlflow_server.start()
    assert training.run_again().close("FINISHED") == ""
    run = mlflow_server.only_run("away")
    assert mlflow_server.steps(run) == list(range(1, 10))
    assert run["info"]["status"] == "FINISHED"


def test_a_server_that_comes_after_the_start_gets_every_step_while_the_log_is_written(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    mlflow_server.kill()
    training = Training(tmp_path, mlflow_server.url, "late", timeout_s=2)
    training.live.start()
    training.write_steps(1, 3)
    time.sleep(6)  # several attempts fail
    mlflow_server.start()
    training.wait_for(mlflow_server, 3)
    assert training.live.close("FINISHED") == ""


def test_a_server_that_was_never_there_gets_all_of_it_from_the_next_run(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    training = Training(tmp_path, "http://127.0.0.1:9", "never")
    training.live.start()
    training.write_steps(1, 3)
    assert "3 logged steps and the files of model 0123456789ab wait" in training.live.close("FINISHED")
    training.settings = TrackingSettings(uri=mlflow_server.url, experiment="never")
    assert training.run_again().close("FINISHED") == ""
    assert mlflow_server.steps(mlflow_server.only_run("never")) == [1, 2, 3]


def test_a_killed_run_that_is_resumed_is_the_same_run_without_a_step_twice(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """The trainer wrote steps that its flow did not read, and after the checkpoint of step 6 it computes some again."""
    training = Training(tmp_path, mlflow_server.url, "resumed")
    training.live.start()
    training.write_steps(1, 4)
    training.wait_for(mlflow_server, 4)
    training.live.close("KILLED", longest_s=60)
    assert mlflow_server.only_run("resumed")["info"]["status"] == "KILLED"
    training.write_steps(5, 8)
    with training.path.open("a") as log:
        log.write('{"time": 1, "st')  # cut by the kill
    training.path = create_log(training.logs, IDENTITY)
    training.run_again()
    training.write_steps(7, 12)
    training.wait_for(mlflow_server, 12)
    assert mlflow_server.only_run("resumed")["info"]["status"] == "RUNNING"
    assert training.live.close("FINISHED") == ""
    run = mlflow_server.only_run("resumed")
    assert mlflow_server.steps(run) == list(range(1, 13))
    assert run["info"]["status"] == "FINISHED"


def test_an_experiment_deleted_in_between_keeps_the_steps_until_it_is_restored(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    training = Training(tmp_path, mlflow_server.url, "deleted")
    training.live.start()
    training.write_steps(1, 2)
    training.wait_for(mlflow_server, 2)
    experiment = {"experiment_id": mlflow_server.experiment("deleted")["experiment_id"]}
    mlflow_server.request("POST", "experiments/delete", experiment)
    training.write_steps(3, 5)
    waiting = training.live.close("FINISHED")
    assert waiting.startswith(f"experiment 'deleted' of MLflow at {mlflow_server.url} is deleted; restore it (`mlflow experiments restore")
    assert "3 logged steps" in waiting
    mlflow_server.request("POST", "experiments/restore", experiment)
    assert training.run_again().close("FINISHED") == ""
    assert mlflow_server.steps(mlflow_server.only_run("deleted")) == [1, 2, 3, 4, 5]


def test_two_processes_with_one_run_log_it_one_after_the_other(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    first = Training(tmp_path, mlflow_server.url, "shared")
    first.live.start()
    first.write_steps(1, 2)
    first.wait_for(mlflow_server, 2)
    second = Training(tmp_path, mlflow_server.url, "shared")
    second.live.start()
    second.write_steps(1, 4)
    assert second.live.close("FINISHED").startswith("another run of model 0123456789ab on this machine logs to MLflow: 4 logged steps")
    first.write_steps(3, 4)
    assert first.live.close("FINISHED") == ""
    assert second.run_again().close("FINISHED") == ""
    assert mlflow_server.steps(mlflow_server.only_run("shared")) == [1, 2, 3, 4]


def test_metrics_of_the_machine_and_of_the_process_grow_with_the_run(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    training = Training(tmp_path, mlflow_server.url, "system")
    samples = tmp_path / "samples.jsonl"
    sampler = SystemSampler(samples, lambda: 1, every_s=0.2)
    sampler.start()
    wait_until(lambda: samples.exists() and samples.read_text().count("\n") >= 12, 120, "samples")
    sampler.stop()
    training.write_steps(1, 1)
    queues = [LineQueue(read_training_line, [training.path]), LineQueue(read_system_line, [samples])]
    live = LiveRun(training.settings, tmp_path, training.plan, queues, tmp_path / "lock", "model")
    live.start()
    assert live.close("FINISHED") == ""
    run = mlflow_server.only_run("system")
    names = {name for name in metrics_of(run) if name.startswith("system/")}
    assert {"system/cpu_utilization_percentage", "system/process_memory_megabytes", "system/disk_usage_percentage"} <= names
    steps = mlflow_server.steps(run, "system/cpu_utilization_percentage")
    assert steps == sorted(set(steps))


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Accepts connections and never answers."""
    kept = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    kept.append(listener.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    for connection in kept:
        connection.close()


def test_a_server_that_never_answers_is_not_waited_for_longer_than_stated(silent_server: str, tmp_path: Path) -> None:
    training = Training(tmp_path, silent_server, "silent", timeout_s=2)
    training.live.start()
    training.write_steps(1, 3)
    time.sleep(1)
    ended = threading.Event()
    sentences = []

    def close() -> None:
        sentences.append(training.live.close("FINISHED"))
        ended.set()

    threading.Thread(target=close, daemon=True).start()
    assert ended.wait(60), "the end is bounded, here by 2 x 2 s and the import of MLflow"
    assert "does not answer: 3 logged steps" in sentences[0]
