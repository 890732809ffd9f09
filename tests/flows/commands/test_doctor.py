"""`doctor` finds what would stop a run, states the remedy, and changes nothing."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from bioclip.settings import PipelineSettings
from bioclip.settings.loading import build_settings
from flows.commands.cli import main
from flows.commands.health.check import Status
from flows.commands.health.clock import check_clock
from flows.commands.health.installation import check_packages, check_python, extras_of
from flows.commands.health.machine import check_free
from flows.commands.health.services import check_address, check_credentials, check_url


def settings(**sections: object) -> PipelineSettings:
    return build_settings(sections)


@pytest.fixture
def server() -> Iterator[str]:
    """Address of a server whose /health answers."""

    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 500)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base's name
            return

    with http.server.HTTPServer(("127.0.0.1", 0), Health) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_a_complete_environment_passes_and_no_workspace_is_created(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--workspace", str(tmp_path / "new"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"]
    assert {"python", "packages", "workspace", "credentials", "disk (workspace)", "Prefect API", "clock", "gpu", "stages"} <= {
        check["name"] for check in answer["checks"]
    }
    assert not (tmp_path / "new").exists()


def test_a_failure_is_shown_with_its_remedy_and_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert main(["doctor", "--workspace", str(tmp_path / "taken")]) == 1
    printed = capsys.readouterr().out
    assert "FAIL  workspace" in printed
    assert "-> set workspace.uri to a writable place" in printed
    assert "FAIL  Prefect API              http://127.0.0.1:9/api/health does not answer" in printed
    assert printed.endswith("2 FAIL\n")


def test_a_server_passes_when_it_answers(server: str) -> None:
    assert check_url("MLflow", f"{server}/health", "start it").status == Status.OK
    broken = check_url("MLflow", f"{server}/other", "start it")
    assert (broken.status, broken.remedy) == (Status.FAIL, "start it")
    assert check_address("Dask", server.replace("http", "tcp"), "start it").status == Status.OK
    assert check_address("Dask", "tcp://127.0.0.1:9", "start it").status == Status.FAIL


@pytest.mark.parametrize(
    ("ahead_s", "status", "words"),
    [
        (0, Status.OK, "within 5 s of"),
        (40, Status.WARN, "s ahead of"),
        (-40, Status.WARN, "s behind"),
        (-3600, Status.FAIL, "S3 refuses requests from 900 s"),
    ],
)
def test_the_clock_is_compared_with_the_servers(server: str, ahead_s: int, status: Status, words: str) -> None:
    """The server answers /health, or an error, each with its time."""
    for sections in ({"tracking": {"uri": server}}, {"workspace": {"uri": "s3://bucket", "s3": {"endpoint_url": server}}}):
        check = check_clock(settings(**sections), {}, lambda: time.time() + ahead_s)
        assert check.status == status
        assert words in check.found
        assert bool(check.remedy) == (status != Status.OK)


def test_a_clock_without_a_server_to_compare_with_is_not_checked() -> None:
    assert check_clock(settings(), {}).found == "not checked: the settings name no server to compare with"
    away = check_clock(settings(), {"PREFECT_API_URL": "http://127.0.0.1:9/api"})
    assert (away.status, away.found) == (Status.OK, "not checked: no server states its time")


def test_packages_outside_the_tested_ranges_and_missing_ones_are_named() -> None:
    requirements = [Requirement("numpy<1"), Requirement("absent-package>=2"), Requirement("pyyaml>=5")]
    check = check_packages("packages", requirements, "pip install it")
    assert check.status == Status.FAIL
    assert "numpy" in check.found
    assert "is outside <1; absent-package is missing" in check.found
    assert "pyyaml" not in check.found
    assert check_python("3.10.4", ">=3.11").status == Status.FAIL
    assert check_python("3.12.0", ">=3.11").status == Status.OK


def test_the_extras_are_those_that_the_settings_need() -> None:
    assert extras_of(settings()) == {"pipeline", "train"}
    assert extras_of(settings(workspace={"uri": "s3://a/b"}, tracking={"uri": "http://mlflow"})) == {"pipeline", "train", "s3", "mlflow"}


def test_an_s3_workspace_without_a_key_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    on_s3 = settings(workspace={"uri": "s3://a/b"})
    assert check_credentials(on_s3, {}).status == Status.WARN
    assert check_credentials(on_s3, {"AWS_PROFILE": "mine"}).status == Status.OK
    assert check_credentials(settings(workspace={"uri": "s3://a/b", "s3": {"key": "k", "secret": "s"}}), {}).status == Status.OK
    assert check_credentials(settings(), {}).status == Status.OK


@pytest.mark.parametrize(("num_bytes", "status"), [(1 << 20, Status.FAIL), (5 << 30, Status.WARN), (50 << 30, Status.OK)])
def test_free_space_is_judged(num_bytes: int, status: Status, tmp_path: Path) -> None:
    check = check_free("disk (workspace)", tmp_path, num_bytes, "workspace.uri")
    assert check.status == status
    assert bool(check.remedy) == (status != Status.OK)
