"""Prefect's API for one command: a server process on loopback that ends with the command, also when the command is killed.

Without PREFECT_API_URL Prefect starts such a server itself, and a killed flow leaves it running. The kernel ends this one with its
parent (see `tasks.bound_process`).
"""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bioclip.errors import TreeOfLifeError
from flows.prefect_database import PrefectDatabase

_START_S, _POLL_S, _STOP_S = 120.0, 0.1, 10.0
PREFECT_PORT = "4200"
_UI_URL = "http://127.0.0.1:{port}"
"""Where `treeoflife ui` shows this server's runs; links to a run point there."""
_SERVER_ENVIRONMENT = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}


@contextmanager
def embedded_prefect(log_path: Path) -> Iterator[None]:
    """Set PREFECT_API_URL to a new server for the length of the block; does nothing when it is already set.

    The log is that of this process, `<stem>-<process id>`, so that two commands at once do not write the same file; it is removed at a
    good end. Raises TreeOfLifeError when the server does not start.
    """
    if os.environ.get("PREFECT_API_URL"):
        yield
        return
    port = _free_port()
    address = f"http://127.0.0.1:{port}/api"
    log_path = log_path.with_stem(f"{log_path.stem}-{os.getpid()}")
    log_path.parent.mkdir(parents=True, exist_ok=True)
    database = PrefectDatabase()
    database.start()
    with log_path.open("wb") as log:
        server = subprocess.Popen(
            _command(port),
            env={**os.environ, **_SERVER_ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C ends this command, which then ends the server
        )
        try:
            os.environ["PREFECT_API_URL"] = address
            importlib.import_module("tasks.stages")  # imports Prefect, which takes as many seconds as the server's own start
            _wait_until_healthy(server, address, log_path)
            database.keep()
            with _ui_address():
                yield
        finally:
            _flush()
            os.environ.pop("PREFECT_API_URL", None)
            _stop(server)
    log_path.unlink(missing_ok=True)


@contextmanager
def _ui_address() -> Iterator[None]:
    """Let links to runs point to `treeoflife ui`, unless the user has set another address."""
    if os.environ.get("PREFECT_UI_URL"):
        yield
        return
    os.environ["PREFECT_UI_URL"] = _UI_URL.format(port=os.environ.get("PREFECT_SERVER_API_PORT", PREFECT_PORT))
    try:
        yield
    finally:
        os.environ.pop("PREFECT_UI_URL", None)


def _flush() -> None:
    """Send the events and logs that Prefect's clients have queued; without a server they would retry for minutes."""
    if "prefect" in sys.modules:
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        APILogWorker.drain_all(timeout=_STOP_S)
        EventsWorker.drain_all(timeout=_STOP_S)


def _command(port: int) -> list[str]:
    app = ["--factory", "prefect.server.api.server:create_app", "--lifespan", "on"]
    where = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    return [sys.executable, "-m", "tasks.bound_process", str(os.getpid()), sys.executable, "-m", "uvicorn", *app, *where]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_healthy(server: subprocess.Popen[bytes], address: str, log_path: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):  # noqa: S310 - our own loopback address
                return
        except OSError:
            time.sleep(_POLL_S)
    raise TreeOfLifeError(f"Prefect's embedded server did not start; see {str(log_path)!r}, or set PREFECT_API_URL to a running server.")


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
