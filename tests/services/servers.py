"""Real servers as processes of the test session: started on free loopback ports, waited for, and stopped again, these alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_OWN_SETTINGS = ("TREEOFLIFE_", "PREFECT_", "MLFLOW_", "AWS_", "DASK_")
_STOP_S = 20
_HTTP_TIMEOUT_S = 60


class NotServingError(Exception):
    """A server ended, or stayed silent too long; the message is its own last line."""


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without what would steer our programs, plus `more`; nothing phones home."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OWN_SETTINGS)}
    quiet = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return {**kept, **quiet, **more}


def program(name: str) -> str:
    """A console command of the environment that runs the tests."""
    return str(Path(sys.executable).with_name(name))


def wait_until(is_so: Callable[[], bool], timeout_s: float, what: str, poll_s: float = 0.1) -> None:
    """Return when `is_so`; raises TimeoutError naming `what`."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} took more than {timeout_s:.0f} s.")
        time.sleep(poll_s)


def stop_group(process: subprocess.Popen[bytes]) -> None:
    """End `process`, the leader of its process group, and the remaining processes of the group."""
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


@contextmanager
def serving(
    command: list[str], log_path: Path, environment: Mapping[str, str], is_ready: Callable[[], bool], timeout_s: float
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server while the block lasts; it also ends when this process is killed. Raises NotServingError."""
    bound = [sys.executable, "-m", "tasks.bound_process", str(os.getpid()), *command]
    with log_path.open("wb") as log:
        process = subprocess.Popen(bound, env=dict(environment), stdout=log, stderr=log, cwd=ROOT, start_new_session=True)
        try:
            wait_until(lambda: process.poll() is not None or is_ready(), timeout_s, f"start of {command[0]}")
            if process.poll() is not None:
                raise NotServingError(_last_line(log_path) or f"{command[0]} ended with code {process.returncode}.")
            yield process
        except TimeoutError as error:
            raise NotServingError(f"{error} {_last_line(log_path)}") from None
        finally:
            stop_group(process)


def _last_line(log_path: Path) -> str:
    lines = log_path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def request_json(method: str, url: str, body: Any = None) -> Any:
    """Answer of a JSON API."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310 - loopback only
    with urllib.request.urlopen(request, timeout=_HTTP_TIMEOUT_S) as response:  # noqa: S310
        return json.load(response)


def answers(url: str) -> bool:
    """True when `url` answers 200."""
    try:
        request_json("GET", url)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    return True


@dataclass(frozen=True)
class S3Service:
    """An S3 endpoint on loopback; commands that use it also get `command_environment`."""

    endpoint_url: str
    key: str
    secret: str
    command_environment: Mapping[str, str] = field(default_factory=dict)

    def make_bucket(self, name: str) -> None:
        """Create a bucket, or leave it: a fixture of a module may be set up more than once in one process."""
        client = self.client()
        if name not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
            client.create_bucket(Bucket=name)

    def client(self) -> Any:
        """A botocore client: another program's view of what the product stores."""
        from botocore.session import Session

        return Session().create_client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            region_name="us-east-1",
        )

    def environment(self, **more: str) -> dict[str, str]:
        """Environment of a program that may use this service."""
        credentials = {"TREEOFLIFE_WORKSPACE__S3__KEY": self.key, "TREEOFLIFE_WORKSPACE__S3__SECRET": self.secret}
        return clean_environment(**credentials, **self.command_environment) | more


@dataclass(frozen=True)
class PrefectServer:
    """A Prefect server on loopback with a home of its own."""

    url: str
    home: Path
    environment: Mapping[str, str]

    def cli(self, *arguments: str) -> str:
        """Output of a `prefect` command that must succeed, run from the root of the repository."""
        command = [program("prefect"), "--no-prompt", *arguments]
        done = subprocess.run(command, env=dict(self.environment), cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def get(self, path: str) -> Any:
        """GET of the REST API."""
        return request_json("GET", f"{self.url}/{path}")

    def find(self, kind: str, **filters: Any) -> list[dict[str, Any]]:
        """Everything of a kind (`task_runs`, `artifacts`, …) that passes the filters."""
        found: list[dict[str, Any]] = request_json("POST", f"{self.url}/{kind}/filter", filters)
        return found
