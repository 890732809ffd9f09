"""Start, show and stop the servers of `supervisord.conf` on this machine: `python -m infra.services.control up|status|down`.

Everything is kept in SERVICES_DIR (default `build/services`): data, logs, process ids, one password, and `environment`, a file of the
shell with the addresses. Ports are those of `PORTS` in `stack.py`, each also a variable of the environment. `up` starts what does not run
and waits until it answers; a second `up` changes nothing. `down` stops what this folder's supervisord started, and nothing else.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.services.stack import HERE, WAVES, Service, Services, ServicesError

PACKAGES = {
    "supervisor": "services",
    "boto3": "services",
    "psycopg2": "postgres",
    "asyncpg": "postgres",
    "prefect": "pipeline",
    "distributed": "pipeline",
    "bokeh": "pipeline",
    "mlflow": "mlflow",
    "s3fs": "s3",
}
"""Modules that the servers need, with the extra that installs each."""
_READY_S, _POLL_S = 240.0, 0.2


def start(services: Services) -> None:
    """Start what does not run, wait until each answers, and print a line for each. Raises ServicesError."""
    _check_programs()
    (services.folder / "log").mkdir(parents=True, exist_ok=True)
    before = services.processes()
    if not before:
        _check_ports(services)
        _start_supervisord(services)
    for wave in WAVES:
        stopped = [one for one in wave if not all(_state(before, name) == "RUNNING" for name in one.programs)]
        for service in stopped:
            _start_programs(services, service)
        for service in wave:
            _wait_until_it_answers(services, service)
            service.prepare(services)
            state = "started" if service in stopped else "already running"
            print(f"{service.name:<20} {state:<16} {_address(services, service)}", flush=True)
    path = services.folder / "environment"
    path.touch(0o600)
    path.write_text("".join(f"export {name}={value}\n" for name, value in services.client_environment().items()), encoding="utf-8")
    print(f"\nTo use them in a shell: . {os.path.relpath(path)}\nTo stop them: make down")


def _start_programs(services: Services, service: Service) -> None:
    states = services.processes()
    for name in service.programs:
        if _state(states, name) not in {"RUNNING", "STARTING"}:
            with services.supervisor() as supervisor:
                supervisor.startProcess(name, False)


def _state(states: Mapping[str, Mapping[str, Any]], program: str) -> str:
    """supervisord's word for the state of a program."""
    return str(states.get(program.split(":")[-1], {}).get("statename", ""))


def stop(services: Services) -> None:
    """Stop all programs and supervisord."""
    try:
        pid = int((services.folder / "supervisord.pid").read_text(encoding="ascii"))
        with services.supervisor() as supervisor:
            supervisor.shutdown()
    except OSError:
        print(f"nothing runs in {services.folder}")
        return
    while _is_alive(pid):
        time.sleep(_POLL_S)
    print(f"stopped; data are kept in {services.folder}")


def show(services: Services) -> int:
    """Print a line for each service; returns how many do not answer."""
    silent = 0
    for service in (one for wave in WAVES for one in wave):
        try:
            service.answers(services)
            state = "answers"
        except Exception as error:  # noqa: BLE001 - any error is the finding
            silent, state = silent + 1, f"does not answer: {error}"
        print(f"{service.name:<20} {_address(services, service):<24} {state}")
    return silent


def _check_programs() -> None:
    if not _has_postgres():
        raise ServicesError("PostgreSQL is not installed; apt-get install postgresql, or put its bin folder on PATH.")
    for module, extra in PACKAGES.items():
        if importlib.util.find_spec(module) is None:
            raise ServicesError(f"{module} is not installed; pip install 'bioclip-pipeline[{extra}]'.")


def _has_postgres() -> bool:
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, Path("/usr/lib/postgresql").glob("*/bin"))])
    return shutil.which("initdb", path=path) is not None


def _check_ports(services: Services) -> None:
    wanted = [(name, port) for name, port in services.ports.items()]
    wanted += [("S3_PORT", services.ports["S3_PORT"] + offset) for offset in (1, 2, 3)]
    for name, port in wanted:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                raise ServicesError(f"port {port} is in use; stop the process that listens there, or set another {name}.") from None


def _start_supervisord(services: Services) -> None:
    command = [sys.executable, "-m", "supervisor.supervisord", "--configuration", str(HERE / "supervisord.conf")]
    done = subprocess.run(command, env=services.server_environment(), capture_output=True, text=True, check=False)
    deadline = time.monotonic() + _READY_S
    while not services.processes():
        if done.returncode != 0 or time.monotonic() > deadline:
            raise ServicesError(f"supervisord does not start: {(done.stdout + done.stderr).strip()}")
        time.sleep(_POLL_S)


def _wait_until_it_answers(services: Services, service: Service) -> None:
    deadline = time.monotonic() + _READY_S
    while True:
        try:
            service.answers(services)
            return
        except Exception as error:  # noqa: BLE001 - it starts; the last error is shown
            states = services.processes()
            failed = [name for name in service.programs if _state(states, name) in {"FATAL", "EXITED"}]
            if failed or time.monotonic() > deadline:
                log = services.folder / "log" / f"{service.programs[0].split(':')[-1]}.log"
                raise ServicesError(f"{service.name} does not start ({error}); last line of {log}: {_last_line(log)}") from None
        time.sleep(_POLL_S)


def _address(services: Services, service: Service) -> str:
    return f"127.0.0.1:{services.ports[service.ports[0]]}" if service.ports else ""


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else "empty"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def main(arguments: list[str]) -> int:
    """Returns 0, or 1 after an error in one sentence."""
    services = Services(Path(os.environ.get("SERVICES_DIR", "build/services")), os.environ)
    try:
        if arguments == ["up"]:
            start(services)
        elif arguments == ["down"]:
            stop(services)
        elif arguments == ["status"]:
            return 1 if show(services) else 0
        else:
            raise ServicesError("usage: control.py up|status|down")
    except ServicesError as error:
        print(f"control.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
