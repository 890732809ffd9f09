"""`treeoflife ui`: the Prefect and MLflow UIs of a workspace's embedded services, on loopback, until interrupted."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bioclip.errors import TreeOfLifeError, UsageError
from flows.commands.parameters import UI, UiOptions
from flows.embedded_prefect import PREFECT_PORT

if TYPE_CHECKING:
    from bioclip.settings import TrackingSettings

_POLL_S, _START_S, _STOP_S = 0.2, 120, 10
_QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}


@dataclass(frozen=True)
class _Server:
    name: str
    port: int
    health: str
    arguments: tuple[str, ...]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def open_uis(*, options: UiOptions = UI) -> None:
    """Open the Prefect and MLflow UIs of a workspace on loopback, until Ctrl-C.

    Example: `treeoflife ui --workspace demo`
    """
    from tasks.context import state_dir

    settings = options.load()
    serve(state_dir(settings), settings.tracking)


def serve(state_dir: Path, tracking: TrackingSettings) -> None:
    """Start both servers, print their addresses, and wait until Ctrl-C or SIGTERM; both end with this process, also when it is killed.

    Prefect's port is PREFECT_SERVER_API_PORT, MLflow's that of `tracking.ui_url`. Raises UsageError when the workspace has no state yet
    or a port is in use, and TreeOfLifeError when a server stops by itself.
    """
    if not state_dir.exists():
        raise UsageError(f"{str(state_dir)!r} does not exist; run `treeoflife demo` or `treeoflife run` there first.")
    servers = _servers(state_dir, tracking)
    for server in servers:
        _check_port(server)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with ExitStack() as stack:
            print("Starting the UIs …", file=sys.stderr)
            running = [(server, stack.enter_context(_running(server, state_dir))) for server in servers]
            for server, process in running:
                _wait_until_it_answers(server, process, state_dir)
                print(f"{server.name:<8} {server.address}", flush=True)
            if tracking.uri.startswith("http"):
                print(f"{'MLflow':<8} {tracking.uri}", flush=True)
            print("Stop with Ctrl-C.", flush=True)
            while True:
                for server, process in running:
                    _check_running(server, process, state_dir)
                time.sleep(_POLL_S)
    except KeyboardInterrupt:
        return


def _servers(state_dir: Path, tracking: TrackingSettings) -> list[_Server]:
    port = os.environ.get("PREFECT_SERVER_API_PORT", PREFECT_PORT)
    prefect = ("prefect", "server", "start", "--host", "127.0.0.1", "--port", port)
    servers = [_Server("Prefect", int(port), "api/health", prefect)]
    if tracking.uri.startswith("http"):
        return servers
    if importlib.util.find_spec("mlflow") is None:
        raise UsageError("the MLflow UI needs MLflow; install the `mlflow` extra.")
    ui_port = urlsplit(tracking.ui_url).port or 80
    store = tracking.uri or f"sqlite:///{state_dir / 'mlflow.db'}"
    mlflow = ("mlflow", "server", "--backend-store-uri", store, "--host", "127.0.0.1", "--port", str(ui_port), "--workers", "1")
    return [*servers, _Server("MLflow", ui_port, "health", mlflow)]


def _check_port(server: _Server) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", server.port))
        except OSError:
            ways = {"Prefect": "PREFECT_SERVER_API_PORT", "MLflow": "tracking.ui_url"}
            raise UsageError(
                f"port {server.port} of the {server.name} UI is in use; stop the process that listens there, or set another port by "
                f"{ways[server.name]}."
            ) from None


@contextmanager
def _running(server: _Server, state_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    bound = [sys.executable, "-m", "tasks.bound_process", str(os.getpid()), sys.executable, "-m", *server.arguments]
    log_path = _log_path(server, state_dir)
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            bound, env=_environment(state_dir, os.environ), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield process
        finally:
            _stop(process)


def _environment(state_dir: Path, inherited: Mapping[str, str]) -> dict[str, str]:
    from flows.environment import QUIET

    kept = {name: value for name, value in inherited.items() if name != "PREFECT_API_URL"}
    return {**QUIET, **_QUIET, "PREFECT_HOME": str(state_dir / "prefect"), **kept}


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a server and all processes of its group."""
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _wait_until_it_answers(server: _Server, process: subprocess.Popen[bytes], state_dir: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        _check_running(server, process, state_dir)
        try:
            with urllib.request.urlopen(f"{server.address}/{server.health}", timeout=_POLL_S):  # noqa: S310 - loopback
                return
        except (urllib.error.URLError, OSError):
            time.sleep(_POLL_S)
    raise TreeOfLifeError(f"the {server.name} UI does not answer after {_START_S} s; see {_log_path(server, state_dir)}.")


def _check_running(server: _Server, process: subprocess.Popen[bytes], state_dir: Path) -> None:
    if process.poll() is not None:
        raise TreeOfLifeError(f"the {server.name} UI ended with code {process.returncode}; see {_log_path(server, state_dir)}.")


def _log_path(server: _Server, state_dir: Path) -> Path:
    return state_dir / "logs" / f"ui-{server.name.lower()}.log"


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
