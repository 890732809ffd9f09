"""The Prefect and MLflow UIs on what a workspace's embedded services left, on loopback, until interrupted."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from bioclip.errors import UsageError
from bioclip.settings import TrackingSettings

PREFECT_PORT, MLFLOW_PORT = 4200, 5000
_POLL_S = 0.5


def serve(state_dir: Path, tracking: TrackingSettings) -> int:
    """Start both servers and wait; raises UsageError when the workspace has no state yet."""
    if not state_dir.exists():
        raise UsageError(f"{str(state_dir)!r} does not exist; run `treeoflife demo` or `treeoflife run` there first.")
    from flows.environment import prepare_environment

    prepare_environment(state_dir, verbose=False)
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    store = tracking.uri or f"sqlite:///{state_dir / 'mlflow.db'}"
    commands = {
        f"Prefect  http://127.0.0.1:{PREFECT_PORT}": ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(PREFECT_PORT)],
        f"MLflow   http://127.0.0.1:{MLFLOW_PORT}": [
            "mlflow",
            "ui",
            "--backend-store-uri",
            store,
            "--host",
            "127.0.0.1",
            "--port",
            str(MLFLOW_PORT),
        ],
    }
    servers = [subprocess.Popen([sys.executable, "-m", *command], env=environment) for command in commands.values()]
    print("\n".join(commands), "\nStop with Ctrl-C.", sep="", flush=True)
    try:
        while all(server.poll() is None for server in servers):
            time.sleep(_POLL_S)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait()
