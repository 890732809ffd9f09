"""Real services for a test session: S3 (OpenStack Swift) and a Prefect server, on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.servers import (
    ROOT,
    NotServingError,
    PrefectServer,
    S3Service,
    answers,
    clean_environment,
    free_ports,
    program,
    serving,
)

S3_SECRET = "a-secret-that-is-found-nowhere-else"  # noqa: S105 - of a server that lives as long as the tests
_INSTALL_S, _START_S = 300, 180


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Service]:
    """An S3 service with nothing in it; its program is installed once, into the user's cache."""
    pytest.importorskip("s3fs", reason="the s3 extra is not installed")
    folder, port = tmp_path_factory.mktemp("s3"), free_ports(4)
    log_path = folder / "s3_up.log"
    command = [str(ROOT / "infra/services/s3_up.sh"), str(folder), str(port)]
    try:
        with serving(command, log_path, clean_environment(S3_SECRET=S3_SECRET), lambda: _says_ready(log_path), _INSTALL_S):
            yield S3Service(f"http://127.0.0.1:{port}", "test:tester", S3_SECRET)
    except NotServingError as error:
        pytest.skip(f"no S3 service here: {error}")


def _says_ready(log_path: Path) -> bool:
    return "ready: " in log_path.read_text(encoding="utf-8")


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
