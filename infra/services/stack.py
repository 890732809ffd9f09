"""The servers of `make up`: addresses, environment, and how each is asked whether it works."""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import urllib.request
import xmlrpc.client
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PORTS = {
    "POSTGRES_PORT": 55432,
    "S3_PORT": 8085,
    "PREFECT_PORT": 4200,
    "MLFLOW_PORT": 5000,
    "DASK_PORT": 8786,
    "DASK_DASHBOARD_PORT": 8787,
}
"""The first of each server's ports; S3 also takes the next three."""
NUM_DASK_WORKERS = 2
BUCKETS, POOLS = ("tree-of-life", "mlflow"), {"data": None, "gpu": 1}
"""Buckets to create; process pools to create, with the number of runs at one time."""
_TIMEOUT_S = 5.0


class ServicesError(Exception):
    """A server is missing or does not start; the message is one sentence."""


@dataclass(frozen=True)
class Service:
    """`programs` are supervisord's names; `answers` returns when the server works, else it raises OSError or another error."""

    name: str
    programs: tuple[str, ...]
    ports: tuple[str, ...]
    answers: Callable[[Services], object]
    prepare: Callable[[Services], object] = lambda services: None
    """Called once it answers."""


class Services:
    """The servers of one folder."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder.resolve()
        self.ports = {name: int(environment.get(name, default)) for name, default in PORTS.items()}
        self._inherited = environment

    @property
    def secret(self) -> str:
        """Password of PostgreSQL and S3; made at the first call, readable for this user alone."""
        path = self.folder / "secret"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(24))
        return path.read_text(encoding="ascii")

    def url(self, port: str, path: str = "") -> str:
        """Address of an HTTP server."""
        return f"http://127.0.0.1:{self.ports[port]}{path}"

    def get(self, port: str, path: str) -> Any:
        """Answer of an HTTP server, decoded where it is JSON."""
        with urllib.request.urlopen(self.url(port, path), timeout=_TIMEOUT_S) as answer:  # noqa: S310 - loopback
            body = answer.read()
        with suppress(ValueError):
            return json.loads(body)
        return body

    def client_environment(self) -> dict[str, str]:
        """Variables by which `treeoflife` and `prefect` use these servers."""
        return {
            "PREFECT_API_URL": self.url("PREFECT_PORT", "/api"),
            "TREEOFLIFE_CLUSTER__ADDRESS": f"tcp://127.0.0.1:{self.ports['DASK_PORT']}",
            "TREEOFLIFE_TRACKING__URI": self.url("MLFLOW_PORT"),
            "TREEOFLIFE_WORKSPACE__URI": "s3://tree-of-life/workspace",
            "TREEOFLIFE_WORKSPACE__S3__ENDPOINT_URL": self.url("S3_PORT"),
            "TREEOFLIFE_WORKSPACE__S3__KEY": "test:tester",
            "TREEOFLIFE_WORKSPACE__S3__SECRET": self.secret,
        }

    def server_environment(self) -> dict[str, str]:
        """Variables of supervisord.conf; settings of the user's own servers are left out."""
        kept = {
            name: value for name, value in self._inherited.items() if not name.startswith(("TREEOFLIFE_", "PREFECT_", "MLFLOW_", "AWS_"))
        }
        data = Path(self._inherited.get("SERVICES_DATA", self.folder))
        own = {
            "SERVICES_DIR": str(self.folder),
            "SERVICES_DATA": str(data.resolve()),
            "SERVICES_BIN": str(HERE.resolve()),
            "SERVICES_SECRET": self.secret,
            "PYTHON_BIN": str(Path(sys.executable).parent),
            "PREFECT_HOME": str(self.folder / "prefect"),
            "DASK_WORKERS": str(NUM_DASK_WORKERS),
        }
        passed = {name: value for name, value in self._inherited.items() if name.startswith("PREFECT_") and name in _PREFECT_TIMES}
        return kept | passed | own | {name: str(port) for name, port in self.ports.items()}

    @contextmanager
    def supervisor(self) -> Iterator[Any]:
        """supervisord's XML-RPC interface for the length of the block; calls raise OSError where it does not run."""
        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(None, None, f"unix://{self.folder / 'supervisord.sock'}")
        try:
            yield xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor
        finally:
            transport.close()

    def processes(self) -> dict[str, Mapping[str, Any]]:
        """State of every program by its name; empty where supervisord does not run."""
        try:
            with self.supervisor() as supervisor:
                return {one["name"]: one for one in supervisor.getAllProcessInfo()}
        except OSError:
            return {}


_PREFECT_TIMES = {
    "PREFECT_WORKER_QUERY_SECONDS",
    "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS",
    "PREFECT_WORKER_HEARTBEAT_SECONDS",
}
"""Prefect's own settings that `up` passes on to its server and workers."""


def _ask_postgres(services: Services) -> None:
    import psycopg2

    with socket.create_connection(("127.0.0.1", services.ports["POSTGRES_PORT"]), _TIMEOUT_S):
        pass
    psycopg2.connect(
        host="127.0.0.1", port=services.ports["POSTGRES_PORT"], user="postgres", password=services.secret, dbname="prefect"
    ).close()


def _make_buckets(services: Services) -> None:
    from botocore.session import Session

    client = Session().create_client(
        "s3",
        endpoint_url=services.url("S3_PORT"),
        aws_access_key_id="test:tester",
        aws_secret_access_key=services.secret,
        region_name="us-east-1",
    )
    found = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    for name in set(BUCKETS) - found:
        client.create_bucket(Bucket=name)


def _make_pools(services: Services) -> None:
    found = {pool["name"] for pool in _post(services, "work_pools/filter", {})}
    for name, limit in POOLS.items():
        if name not in found:
            _post(services, "work_pools/", {"name": name, "type": "process", "concurrency_limit": limit})


def _post(services: Services, path: str, body: object) -> Any:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(services.url("PREFECT_PORT", f"/api/{path}"), json.dumps(body).encode(), headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - loopback
        return json.load(answer)


def _count_dask_workers(services: Services) -> None:
    number = services.get("DASK_DASHBOARD_PORT", "/json/counts.json")["workers"]
    if number < NUM_DASK_WORKERS:
        raise OSError(f"{number} of {NUM_DASK_WORKERS} Dask workers are connected")


def _ask_pool(name: str) -> Callable[[Services], None]:
    def ask(services: Services) -> None:
        status = services.get("PREFECT_PORT", f"/api/work_pools/{name}")["status"]
        if status != "READY":
            raise OSError(f"work pool {name!r} is {status}")

    return ask


WAVES = (
    (
        Service("PostgreSQL", ("postgres",), ("POSTGRES_PORT",), _ask_postgres),
        Service("S3", ("s3",), ("S3_PORT",), lambda one: one.get("S3_PORT", "/healthcheck"), _make_buckets),
    ),
    (
        Service("Prefect", ("prefect",), ("PREFECT_PORT",), lambda one: one.get("PREFECT_PORT", "/api/health"), _make_pools),
        Service("MLflow", ("mlflow",), ("MLFLOW_PORT",), lambda one: one.get("MLFLOW_PORT", "/health")),
        Service(
            "Dask scheduler",
            ("dask-scheduler",),
            ("DASK_PORT", "DASK_DASHBOARD_PORT"),
            lambda one: one.get("DASK_DASHBOARD_PORT", "/health"),
        ),
    ),
    (
        Service("Dask workers", tuple(f"dask-worker:dask-worker-{number}" for number in range(NUM_DASK_WORKERS)), (), _count_dask_workers),
        Service("worker of pool data", ("worker-data",), (), _ask_pool("data")),
        Service("worker of pool gpu", ("worker-gpu",), (), _ask_pool("gpu")),
    ),
)
"""Services that start together; each wave needs the one before it."""
