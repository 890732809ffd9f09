"""A real MLflow server that tests kill and start again, and what MLflow then has."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.ports import free_ports
from tests.services.servers import answers, clean_environment, request_json, serving

_START_S = 180


class MlflowServer:
    """On one port of loopback, with a database and a folder of artifacts that outlive the process."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self._serving = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and return once it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}"]
        command += ["--artifacts-destination", (self.folder / "artifacts").as_uri(), "--workers", "1"]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        environment = clean_environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false", PYTHONWARNINGS="ignore")
        served = serving(command, self.folder / "server.log", environment, lambda: answers_health(self.url), _START_S)
        self._process = self._serving.enter_context(served)

    def kill(self) -> None:
        """End all its processes by SIGKILL."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._serving.close()

    def stop(self) -> None:
        """End it."""
        self._serving.close()

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Answer of the REST API."""
        return request_json(method, f"{self.url}/api/2.0/mlflow/{path}", body)

    def experiment(self, name: str) -> dict[str, Any]:
        """An experiment by name."""
        found: dict[str, Any] = self.request("GET", f"experiments/get-by-name?experiment_name={name}")["experiment"]
        return found

    def runs(self, experiment: str) -> list[dict[str, Any]]:
        """All runs of an experiment."""
        found: dict[str, Any] = self.request("POST", "runs/search", {"experiment_ids": [self.experiment(experiment)["experiment_id"]]})
        return list(found.get("runs", []))

    def only_run(self, experiment: str) -> dict[str, Any]:
        """The single run of an experiment."""
        (run,) = self.runs(experiment)
        return run

    def history(self, run: dict[str, Any], metric: str) -> list[dict[str, Any]]:
        """Every value of a metric, as stored."""
        found = self.request("GET", f"metrics/get-history?run_id={run['info']['run_id']}&metric_key={metric}&max_results=25000")
        return list(found.get("metrics", []))

    def steps(self, run: dict[str, Any], metric: str = "loss") -> list[int]:
        """The steps of a metric in the order of their times."""
        history = self.history(run, metric)
        return [int(one.get("step", 0)) for one in sorted(history, key=lambda one: (int(one["timestamp"]), int(one.get("step", 0))))]


def answers_health(url: str) -> bool:
    """Whether an MLflow server is up."""
    try:
        return answers(f"{url}/health")
    except ValueError:  # its answer is no JSON
        return True


def tags_of(run: dict[str, Any]) -> dict[str, str]:
    """Tags by name."""
    return {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])}


def params_of(run: dict[str, Any]) -> dict[str, str]:
    """Parameters by name."""
    return {param["key"]: param["value"] for param in run["data"].get("params", [])}


def metrics_of(run: dict[str, Any]) -> dict[str, float]:
    """Last value of each metric."""
    return {metric["key"]: metric["value"] for metric in run["data"].get("metrics", [])}
