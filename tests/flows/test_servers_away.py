"""A server that is away is one sentence before any work starts."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from bioclip.sample.server import SampleServer
from bioclip.settings.loading import to_yaml
from flows.commands.cli import main
from tests.conftest import sample_settings

AWAY = "http://127.0.0.1:9"


def run(tmp_path: Path, server: SampleServer, capsys: pytest.CaptureFixture[str], **sections: dict[str, Any]) -> tuple[int, str]:
    (tmp_path / "settings.yaml").write_text(to_yaml(sample_settings(server, tmp_path / "workspace", **sections)))
    code = main(["run", "--settings", str(tmp_path / "settings.yaml")])
    return code, capsys.readouterr().err


def test_mlflow_that_is_away_stops_a_run_before_it_starts(
    sample_server: SampleServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed = run(tmp_path, sample_server, capsys, tracking={"uri": AWAY})
    assert code == 1
    assert printed.startswith(f"treeoflife: error: MLflow: {AWAY}/health does not answer")
    assert printed.count("\n") == 1
    assert not (tmp_path / "workspace" / "records").exists()


def test_a_prefect_api_that_is_away_stops_a_run_before_it_starts(
    sample_server: SampleServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"{AWAY}/api")
    code, printed = run(tmp_path, sample_server, capsys)
    assert code == 1
    assert printed.startswith(f"treeoflife: error: Prefect API: {AWAY}/api/health does not answer")
    assert printed.count("\n") == 1


def test_mlflow_that_accepts_and_never_answers_stops_a_run_before_it_starts(
    sample_server: SampleServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        code, printed = run(tmp_path, sample_server, capsys, tracking={"uri": uri})
    assert code == 1
    assert printed.startswith(f"treeoflife: error: MLflow: {uri}/health does not answer: timed out; start the server")
    assert printed.count("\n") == 1
