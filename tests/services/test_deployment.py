"""The deployments of infra/prefect.yaml on a real Prefect server, with a real worker."""

from __future__ import annotations

import inspect
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.flows import load_flow_from_entrypoint

from bioclip.releases import latest_release, open_release
from bioclip.sample.demo import demo_settings
from bioclip.sample.server import SampleServer
from bioclip.settings import PipelineSettings
from bioclip.settings.loading import build_settings
from bioclip.stages import STAGES
from bioclip.storage import Storage
from tests.services.servers import ROOT, PrefectServer, program, serving, wait_until
from tests.training.conftest import TINY_MODEL

PREFECT_FILE = "infra/prefect.yaml"
RUN_STAGES = [stage for stage in STAGES if stage.is_wanted(PipelineSettings()) and not stage.may_be_empty]
"""Those of a run of the sample's settings."""
SECRET = "a-secret-of-the-worker-alone"  # noqa: S105 - of no service
_RUN_S = 600  # a bound for a busy machine; a minute on a quiet one
_ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def deployments() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((ROOT / PREFECT_FILE).read_text(encoding="utf-8"))["deployments"]
    return found


@pytest.mark.parametrize("deployment", deployments(), ids=lambda deployment: deployment["name"])
def test_a_deployment_names_a_flow_of_the_package_and_settings_that_load(deployment: dict[str, Any]) -> None:
    flow = load_flow_from_entrypoint(deployment["entrypoint"], use_placeholder_flow=False)
    assert flow.name == deployment["name"]
    assert set(deployment["parameters"]) == set(inspect.signature(flow.fn).parameters)
    settings = build_settings(deployment["parameters"]["settings"])
    assert settings.sources
    assert settings.taxonomy.backbones
    assert not settings.workspace.s3.key.get_secret_value()


@pytest.fixture(scope="module")
def deployed(prefect_server: PrefectServer) -> PrefectServer:
    """The server with everything deployed as the file's head says."""
    for pool in ("data", "gpu"):
        prefect_server.cli("work-pool", "create", pool, "--type", "process")
    prefect_server.cli("deploy", "--prefect-file", PREFECT_FILE, "--all")
    return prefect_server


@pytest.mark.service
def test_what_is_deployed_holds_no_path_of_this_machine(deployed: PrefectServer) -> None:
    found = {deployment["name"]: deployment for deployment in deployed.find("deployments")}
    assert set(found) == {deployment["name"] for deployment in deployments()}
    assert str(ROOT) not in json.dumps(found)
    for deployment in found.values():
        assert not deployment["pull_steps"]
        assert deployment["work_pool_name"] == ("gpu" if deployment["name"] == "train" else "data")
        assert deployment["global_concurrency_limit"]["limit"] == 1
        assert deployment["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    (schedule,) = found["tree-of-life"]["schedules"]
    assert schedule["schedule"]["cron"] == "0 2 * * *"
    assert not schedule["active"]
    assert not any(found[name]["schedules"] for name in ("curate", "train", "evaluate"))


@dataclass(frozen=True)
class FlowRuns:
    """The whole, run twice at once through its deployment."""

    prefect: PrefectServer
    workspace: Path
    first: dict[str, Any]
    second: dict[str, Any]

    def task_runs(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        return self.prefect.find("task_runs", flow_runs={"id": {"any_": [run["id"]]}}, sort="EXPECTED_START_TIME_ASC")

    def artifacts(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        return self.prefect.find("artifacts", flow_runs={"id": {"any_": [run["id"]]}})


@pytest.fixture(scope="module")
def runs(deployed: PrefectServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlowRuns]:
    workspace, folder = tmp_path_factory.mktemp("workspace"), tmp_path_factory.mktemp("worker")
    environment = {**deployed.environment, "TREEOFLIFE_WORKSPACE__S3__KEY": "worker", "TREEOFLIFE_WORKSPACE__S3__SECRET": SECRET}
    worker = [program("prefect"), "worker", "start", "--pool", "data", "--name", "tests"]
    with SampleServer() as server, serving(worker, folder / "worker.log", environment, lambda: _is_online(deployed), 180):
        parameters = json.dumps({"settings": tiny_settings(server, workspace)})
        ids = [_start(deployed, parameters), _start(deployed, parameters)]
        try:
            wait_until(lambda: all(_run(deployed, run)["state_type"] in _ENDED for run in ids), _RUN_S, "two runs", poll_s=0.5)
        finally:
            log = (folder / "worker.log").read_text(encoding="utf-8", errors="replace")
        first, second = sorted((_run(deployed, run) for run in ids), key=lambda run: str(run["start_time"]))
        assert first["state_type"] == second["state_type"] == "COMPLETED", log
        yield FlowRuns(deployed, workspace, first, second)


def tiny_settings(server: SampleServer, workspace: Path) -> dict[str, Any]:
    """The whole sample, and as little training and scoring as there can be."""
    tree = demo_settings(server.address, workspace)
    tree["cluster"] = {"num_workers": 2}
    tree["training"] = {"model": TINY_MODEL.model_dump(mode="json"), "num_steps": 20, "warmup_steps": 2, "batch_size": 16, "num_threads": 1}
    tree["evaluation"] = {"caption_types": ["taxon"], "shots": [1], "num_folds": 1, "num_bootstraps": 20}
    return tree


def _is_online(prefect: PrefectServer) -> bool:
    pool: dict[str, Any] = prefect.get("work_pools/data")
    return bool(pool["status"] == "READY")


def _start(prefect: PrefectServer, parameters: str) -> str:
    said = prefect.cli("deployment", "run", "tree-of-life/tree-of-life", "--params", parameters)
    match = re.search(r"UUID: ([0-9a-f-]{36})", said)
    assert match, said
    return match[1]


def _run(prefect: PrefectServer, run_id: str) -> dict[str, Any]:
    run: dict[str, Any] = prefect.get(f"flow_runs/{run_id}")
    return run


@pytest.mark.service
def test_a_deployed_run_has_one_task_run_for_each_stage(runs: FlowRuns) -> None:
    task_runs = runs.task_runs(runs.first)
    assert [run["name"].rsplit("-", 1)[0] for run in task_runs] == [stage.name for stage in RUN_STAGES]
    assert {run["state_type"] for run in task_runs} == {"COMPLETED"}


@pytest.mark.service
def test_each_stage_shows_its_progress_and_its_counts(runs: FlowRuns) -> None:
    artifacts = Counter((artifact["type"], artifact["key"]) for artifact in runs.artifacts(runs.first))
    for stage in (stage for stage in RUN_STAGES if stage.plan):
        assert artifacts["progress", f"{stage.name}-progress"] == 1
        assert artifacts["table", f"{stage.name}-counts"] == 1
    images = next(artifact for artifact in runs.artifacts(runs.first) if artifact["key"] == "images-counts")
    counts = {row["count"]: row["number"] for row in json.loads(images["data"])}
    assert counts["read"] == counts["written"] + sum(number for name, number in counts.items() if name.startswith("dropped: "))
    assert counts["read"] > 1000


@pytest.mark.service
def test_prefect_and_mlflow_link_to_each_other(runs: FlowRuns) -> None:
    links = [artifact["data"] for artifact in runs.artifacts(runs.first) if artifact["key"] == "mlflow-run"]
    run_ids = sorted(match[1] for link in links if (match := re.search(r"/runs/([0-9a-f]{32})", link)))
    assert len(run_ids) == 2
    with closing(sqlite3.connect(runs.workspace / ".state/mlflow.db")) as store:
        rows = store.execute("SELECT run_uuid, value FROM tags WHERE key = 'prefect.flow_run_id' ORDER BY run_uuid").fetchall()
        names = [name for (name,) in store.execute("SELECT name FROM runs ORDER BY name")]
    assert rows == [(run_id, runs.first["id"]) for run_id in run_ids]
    assert [name.split("-")[0] for name in names] == ["evaluate", "train"]


@pytest.mark.service
def test_the_release_is_in_the_workspace(runs: FlowRuns) -> None:
    storage = Storage(str(runs.workspace))
    release = open_release(storage, latest_release(storage))
    assert sum(split["num_samples"] for split in release.manifest["splits"].values()) > 1000
    assert [name for name in storage.list("reports") if name.endswith("report.html")]


@pytest.mark.service
def test_a_second_run_waits_for_the_first_and_finds_everything_done(runs: FlowRuns) -> None:
    assert runs.second["start_time"] >= runs.first["end_time"]
    assert [run["name"].rsplit("-", 1)[0] for run in runs.task_runs(runs.second)] == [stage.name for stage in RUN_STAGES]
    kinds = {artifact["type"] for artifact in runs.artifacts(runs.second)}
    assert "progress" not in kinds  # shown only where a partition is left to do


@pytest.mark.service
def test_a_secret_of_the_worker_is_not_stored_by_prefect(runs: FlowRuns) -> None:
    assert runs.first["parameters"]["settings"]["workspace"]["uri"] == str(runs.workspace)
    assert SECRET not in json.dumps(runs.first)
    stored = [path for folder in (runs.prefect.home, runs.workspace) for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == "prefect.db" for path in stored)
    assert [path.name for path in stored if SECRET.encode() in path.read_bytes()] == []
