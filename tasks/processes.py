"""Training and evaluation as separate processes: started, monitored through a JSON-lines log, and ended with their flow."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bioclip.errors import TreeOfLifeError
from bioclip.settings import PipelineSettings
from bioclip.settings.loading import ENVIRONMENT_PREFIX
from bioclip.training.runs import FAILED

_POLL_S, _END_S = 0.2, 2.0
_SHOWN_ERROR_CHARS = 2000


def run_watched(
    command: Sequence[str],
    environment: Mapping[str, str],
    log_path: Path,
    on_line: Callable[[dict[str, Any]], None],
    error: type[TreeOfLifeError],
) -> None:
    """Run `command` and pass each line of its JSON-lines log to `on_line` as it is written.

    A line with the event `failed` is not passed on: its sentence, from any of several processes, is the message of `error`
    if the command fails. Without one, `error` has the end of the command's output.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    log_path.write_bytes(b"")
    bound = [sys.executable, "-m", "tasks.bound_process", str(os.getpid()), *command]
    with log_path.open("rb") as log, log_path.with_suffix(".stderr").open("w+b") as words:
        sentences: list[str] = []

        def take(line: dict[str, Any]) -> None:
            if line.get("event") == FAILED:
                sentences.append(line["message"])
            else:
                on_line(line)

        process = subprocess.Popen(
            bound, env={**_inherited(), **environment}, stdin=subprocess.DEVNULL, stdout=words, stderr=words, start_new_session=True
        )
        try:
            _watch(process, log, take)
        finally:
            _end(process)
        if process.returncode != 0:
            words.seek(0)
            said = words.read().decode(errors="replace").strip()[-_SHOWN_ERROR_CHARS:]
            raise error(
                next(iter(sentences), said)
                or f"{' '.join(command[:4])} … ended with code {process.returncode} without a message; see {log_path}."
            )


def s3_credentials(settings: PipelineSettings) -> dict[str, str]:
    """Environment variables with the workspace's S3 key and secret, which a settings file never holds."""
    s3 = settings.workspace.s3
    values = {"WORKSPACE__S3__KEY": s3.key.get_secret_value(), "WORKSPACE__S3__SECRET": s3.secret.get_secret_value()}
    return {ENVIRONMENT_PREFIX + name: value for name, value in values.items() if value}


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and those that it started, which share its session, and no others with it: Ctrl-C reaches none of them."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _inherited() -> dict[str, str]:
    """This process's environment without settings: the child reads the effective settings from its file."""
    return {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}


def _watch(process: subprocess.Popen[bytes], log: Any, on_line: Callable[[dict[str, Any]], None]) -> None:
    rest = b""
    while True:
        is_over = process.poll() is not None
        *lines, rest = (rest + log.read()).split(b"\n")
        for line in lines:
            if line.strip():
                on_line(json.loads(line))
        if is_over:
            return
        time.sleep(_POLL_S)
