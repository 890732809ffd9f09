"""Real services for a test session: S3 (OpenStack Swift) and a Prefect server, on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from bioclip.releases.aliases import point_latest
from bioclip.report.stage import plan_report
from bioclip.sample.server import SampleServer
from tests.conftest import Curated, run_jobs
from tests.ports import free_ports
from tests.services.s3_workspaces import RestartableS3
from tests.services.servers import NotServingError, PrefectServer, S3Service, answers, clean_environment, program, serving

T = TypeVar("T")
_START_S = 180


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory, shared_prefect: dict[str, str]) -> Iterator[S3Service]:
    """An S3 service with nothing in it; its program is installed once, into the user's cache."""
    yield from _serve_s3(tmp_path_factory.mktemp("s3"), shared_prefect, lambda served: served.service)


@pytest.fixture(scope="module")
def own_s3(tmp_path_factory: pytest.TempPathFactory, shared_prefect: dict[str, str]) -> Iterator[RestartableS3]:
    """One that tests may kill and start again; they leave it running."""
    yield from _serve_s3(tmp_path_factory.mktemp("own-s3"), shared_prefect, lambda served: served)


def _serve_s3(folder: Path, command_environment: dict[str, str], view: Callable[[RestartableS3], T]) -> Iterator[T]:
    pytest.importorskip("s3fs", reason="the s3 extra is not installed")
    served = RestartableS3(folder, command_environment)
    try:
        served.start()
    except NotServingError as error:
        if "could not be installed" not in str(error):
            raise
        pytest.skip(f"no S3 service here: {error}")
    try:
        yield view(served)
    finally:
        served.stop()


@pytest.fixture(scope="session")
def local_digests(curated: Curated) -> dict[str, str]:
    """SHA-256 of every file of the same work in a local folder, without Prefect and Dask, its report included."""
    storage = curated.storage
    before = set(storage.list())
    point_latest(storage, curated.release.version)
    run_jobs(storage, "report", plan_report(storage, curated.settings, curated.release.version, None, None))
    digests = {name: storage.digest(name)[0] for name in storage.list() if not name.startswith(("outcomes/", ".state/"))}
    for name in set(storage.list()) - before:
        storage.remove(name)
    return digests


@pytest.fixture
def server() -> Iterator[SampleServer]:
    """A server that nobody has asked yet."""
    with SampleServer() as server:
        yield server


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A Prefect server on SQLite. It must start: a release of FastAPI that breaks it is a broken lock, not a reason to skip."""
    home, port = tmp_path_factory.mktemp("prefect"), free_ports(1)
    url = f"http://127.0.0.1:{port}/api"
    environment = clean_environment(
        PREFECT_HOME=str(home),
        PREFECT_API_URL=url,
        PREFECT_CLI_COLORS="false",
        PREFECT_LOGGING_LEVEL="WARNING",
        PREFECT_WORKER_QUERY_SECONDS="1",
        PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS="1",
    )
    command = [program("prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with serving(command, home / "server.log", environment, lambda: answers(f"{url}/health"), _START_S):
        yield PrefectServer(url, home, environment)
