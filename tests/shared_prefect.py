"""One Prefect server for all commands of a test run: `python -m tests.shared_prefect FOLDER PID` serves until process PID has ended."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

from flows.embedded_prefect import embedded_prefect

ROOT = Path(__file__).parents[1]
_START_S, _POLL_S = 180.0, 0.2


def prefect_environment(folder: Path) -> dict[str, str]:
    """Variables by which a command uses the server of `folder`; the first caller of a test run starts it, the others wait.

    Raises TimeoutError when it does not answer.
    """
    folder.mkdir(exist_ok=True)
    address = folder / "address"
    with (folder / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not address.exists():
            _start(folder, address)
    return {"PREFECT_API_URL": address.read_text(encoding="utf-8"), "PREFECT_HOME": str(folder)}


def _start(folder: Path, address: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"PREFECT_HOME": str(folder), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    # pytest-xdist's workers end one after another, so the server belongs to the process that started them.
    owner = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    command = [sys.executable, "-m", "tests.shared_prefect", str(folder), str(owner)]
    with (folder / "keeper.log").open("wb") as log:
        keeper = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    keeper.returncode = 0  # it outlives this process; Popen would warn that it still runs
    end = time.monotonic() + _START_S
    while not address.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"Prefect did not start: {(folder / 'keeper.log').read_text(errors='replace')[-500:]}")
        time.sleep(_POLL_S)


def main(folder: Path, owner: int) -> None:
    """Serve, and write the address to `folder/address`."""
    with embedded_prefect(folder / "server.log"):
        (folder / "address.partial").write_text(os.environ["PREFECT_API_URL"], encoding="utf-8")
        (folder / "address.partial").rename(folder / "address")
        while _is_alive(owner):
            time.sleep(_POLL_S)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
