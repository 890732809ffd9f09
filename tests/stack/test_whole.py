"""The whole by deployment on real servers: PostgreSQL, Prefect with two workers, MLflow, S3 and a Dask cluster of two workers."""

from __future__ import annotations

import urllib.parse

import psycopg2
import pytest

from infra.services.stack import WAVES
from tests.services.servers import request_json
from tests.stack.conftest import WHOLE, Results, WholeRun
from tests.stack.real_servers import Stack, control

pytestmark = pytest.mark.stack


def test_release_and_weights_are_those_of_the_embedded_run(whole: WholeRun, embedded: Results, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\nthe whole by deployment on real servers: {whole.results.wall_s:.0f} s; embedded: {embedded.wall_s:.0f} s")
        print(f"release {whole.results.release[:16]}, weights {whole.results.weights[:16]}, equal in both")
    assert whole.results.release == embedded.release
    assert whole.results.weights == embedded.weights


def test_training_is_a_flow_run_of_its_own_on_the_pool_gpu(whole: WholeRun) -> None:
    (child,) = whole.stack.children(whole.first)
    assert (child["work_pool_name"], child["state_type"]) == ("gpu", "COMPLETED")
    assert whole.first["work_pool_name"] == "data"


def test_a_second_run_does_no_work(whole: WholeRun) -> None:
    assert whole.second["state_type"] == "COMPLETED"
    assert whole.stack.children(whole.second) == []
    assert "progress" not in {artifact["type"] for artifact in whole.stack.artifacts(whole.second)}


def test_mlflow_has_both_runs_and_their_files_on_s3(whole: WholeRun) -> None:
    services = whole.stack.services
    found = request_json("GET", services.url("MLFLOW_PORT", "/api/2.0/mlflow/experiments/get-by-name?experiment_name=tree-of-life"))
    body = {"experiment_ids": [found["experiment"]["experiment_id"]]}
    runs = request_json("POST", services.url("MLFLOW_PORT", "/api/2.0/mlflow/runs/search"), body)["runs"]
    assert {run["info"]["status"] for run in runs} == {"FINISHED"}
    assert {run["info"]["run_name"].split("-")[0] for run in runs} >= {"train", "evaluate"}
    for run in runs:
        query = urllib.parse.urlencode({"run_id": run["info"]["run_id"]})
        assert request_json("GET", services.url("MLFLOW_PORT", f"/api/2.0/mlflow/artifacts/list?{query}"))["files"]
        assert run["info"]["artifact_uri"].startswith("mlflow-artifacts:/")


def test_no_password_is_stored_by_prefect_or_in_the_workspace(whole: WholeRun) -> None:
    services = whole.stack.services
    address = {"host": "127.0.0.1", "port": services.ports["POSTGRES_PORT"], "user": "postgres", "password": services.secret}
    connection = psycopg2.connect(dbname="prefect", **address)
    with connection, connection.cursor() as cursor:
        for table, column in (("flow_run", "parameters"), ("deployment", "parameters"), ("log", "message"), ("artifact", "data")):
            cursor.execute(f"SELECT count(*), count(*) FILTER (WHERE {column}::text LIKE %s) FROM {table}", [f"%{services.secret}%"])  # noqa: S608
            number, leaked = cursor.fetchone() or (0, 0)
            assert number, table
            assert leaked == 0, table
    connection.close()
    storage = whole.stack.workspace(WHOLE)
    assert [name for name in storage.list() if services.secret.encode() in storage.read_bytes(name)] == []


def test_a_second_up_changes_nothing(stack: Stack) -> None:
    before = {name: one["pid"] for name, one in stack.services.processes().items()}
    assert control(stack.environment, "up").count("already running") == sum(map(len, WAVES))
    assert {name: one["pid"] for name, one in stack.services.processes().items()} == before
    assert control(stack.environment, "status").count("answers") == sum(map(len, WAVES))
    assert (stack.services.folder / "environment").stat().st_mode & 0o077 == 0
