"""`treeoflife ui` as a user runs it: both UIs on the state of a workspace."""

from __future__ import annotations

import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest

from bioclip.settings import TrackingSettings
from tasks.tracking.client import DatasetInput, RunPlan, TrackedRun, Tracker
from tasks.tracking.log_lines import MetricPoint
from tests.ports import free_ports
from tests.services.servers import ROOT, answers, clean_environment, program, request_json, stop_group, wait_until

pytestmark = pytest.mark.service


def logged_run(state_dir: Path) -> TrackedRun:
    """An MLflow run with an artifact, as training leaves it."""
    (state_dir / "files").mkdir(parents=True)
    (state_dir / "files/model.json").write_text('{"steps": 20}', encoding="utf-8")
    tracker = Tracker(TrackingSettings(), state_dir)
    dataset = DatasetInput("sample", "0" * 64, "nowhere")
    run = tracker.open_run(RunPlan("train-tiny", "model:tiny", 0, {}, {"training": {"num_steps": 20}}, dataset, "training"))
    tracker.log_points(run, [MetricPoint("loss", 20, 1000, {"loss": 2.5})])
    tracker.log_files(run, state_dir / "files")
    tracker.finish(run)
    return run.tracked


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ui_command(workspace: Path, mlflow_port: int) -> list[str]:
    return [program("treeoflife"), "ui", "--workspace", str(workspace), "--set", f"tracking.ui_url=http://127.0.0.1:{mlflow_port}"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own, of SQLAlchemy
def test_both_uis_show_a_workspace_and_end_with_the_command(tmp_path: Path) -> None:
    run = logged_run(tmp_path / ".state")
    port = free_ports(2)
    environment = clean_environment(PREFECT_SERVER_API_PORT=str(port))
    with (tmp_path / "ui.log").open("wb") as log:
        ui = subprocess.Popen(ui_command(tmp_path, port + 1), env=environment, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
    try:
        said = tmp_path / "ui.log"
        wait_until(lambda: "Stop with Ctrl-C" in said.read_text(encoding="utf-8") or ui.poll() is not None, 300, "both UIs")
        assert ui.poll() is None, said.read_text(encoding="utf-8")
        assert answers(f"http://127.0.0.1:{port}/api/health")
        found = request_json("GET", f"http://127.0.0.1:{port + 1}/api/2.0/mlflow/runs/get?run_id={run.run_id}")
        assert found["run"]["info"]["run_name"] == "train-tiny"
        artifact = f"http://127.0.0.1:{port + 1}/get-artifact?path=model.json&run_uuid={run.run_id}"
        with urllib.request.urlopen(artifact, timeout=30) as response:
            assert response.read() == b'{"steps": 20}'
        ui.send_signal(signal.SIGTERM)
        assert ui.wait(60) in {0, 143}, "143: on a busy machine the servers need longer to end than a command waits"
        wait_until(lambda: not listens(port) and not listens(port + 1), 30, "the end of both servers")
    finally:
        stop_group(ui)


def test_a_taken_port_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / ".state").mkdir()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = subprocess.run(
            ui_command(tmp_path, port),
            env=clean_environment(PREFECT_SERVER_API_PORT=str(free_ports(1))),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert line.startswith(f"treeoflife: error: port {port} of the ")
    assert "tracking.ui_url" in line
