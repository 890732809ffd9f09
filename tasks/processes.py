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

from bioclip.errors import TrainingStoppedError, TreeOfLifeError
from bioclip.settings import PipelineSettings
from bioclip.settings.loading import ENVIRONMENT_PREFIX
from bioclip.training.outcomes import read_failures, remove_failures

_POLL_S, _END_S = 0.2, 2.0
_SHOWN_ERROR_CHARS = 2000
_MAX_STOPS_WITHOUT_A_STEP = 3
_ending_until: list[float] = []
"""Clock readings until which commands that this process ends may finish their work."""


def run_resumable(
    command: Sequence[str],
    environment: Mapping[str, str],
    log_path: Path,
    on_line: Callable[[dict[str, Any]], None],
    error: type[TreeOfLifeError],
    grace_s: float,
    on_poll: Callable[[int], None] = lambda pid: None,
) -> None:
    """`run_watched`, and again after each end by a signal that left a checkpoint: a preemption is no failure.

    Raises TrainingStoppedError after the third such end in succession without a further step.
    """
    stops = last = 0

    def watch(line: dict[str, Any]) -> None:
        nonlocal stops, last
        if line.get("step", 0) > last:
            stops, last = 0, line["step"]
        on_line(line)

    while True:
        try:
            return run_watched(command, environment, log_path, watch, error, grace_s, on_poll)
        except TrainingStoppedError as stopped:
            stops += 1
            if stops == _MAX_STOPS_WITHOUT_A_STEP:
                raise
            on_line({"event": "stopped", "message": str(stopped)})


def run_watched(
    command: Sequence[str],
    environment: Mapping[str, str],
    log_path: Path,
    on_line: Callable[[dict[str, Any]], None],
    error: type[TreeOfLifeError],
    grace_s: float = _END_S,
    on_poll: Callable[[int], None] = lambda pid: None,
) -> None:
    """Run `command` and pass each line that it appends to its JSON-lines log to `on_line`; `on_poll` gets the process id, often.

    If the command fails, `error` has the sentence of the process that failed first, else the end of the command's output. Raises
    TrainingStoppedError if a signal ended training after a checkpoint. If this process is interrupted, the command receives SIGTERM,
    and SIGKILL after `grace_s`.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    log_path.touch()
    remove_failures(log_path)
    bound = [sys.executable, "-m", "tasks.bound_process", str(os.getpid()), *command]
    with log_path.open("rb") as log, log_path.with_suffix(".stderr").open("w+b") as words:
        log.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            bound, env={**_inherited(), **environment}, stdin=subprocess.DEVNULL, stdout=words, stderr=words, start_new_session=True
        )
        try:
            _watch(process, log, on_line, on_poll)
        finally:
            _end(process, grace_s)
        if process.returncode != 0:
            if (failures := read_failures(log_path)) and failures[0].stopped:
                raise TrainingStoppedError(failures[0].sentence)
            words.seek(0)
            said = words.read().decode(errors="replace").strip()[-_SHOWN_ERROR_CHARS:]
            raise error(
                next((failure.sentence for failure in failures), said)
                or f"{' '.join(command[:4])} … ended with code {process.returncode} without a message; see {log_path}."
            )


def s3_credentials(settings: PipelineSettings) -> dict[str, str]:
    """Environment variables with the workspace's S3 key and secret, which a settings file never holds."""
    s3 = settings.workspace.s3
    values = {"WORKSPACE__S3__KEY": s3.key.get_secret_value(), "WORKSPACE__S3__SECRET": s3.secret.get_secret_value()}
    return {ENVIRONMENT_PREFIX + name: value for name, value in values.items() if value}


def seconds_to_finish() -> float:
    """How long a command that this process is ending may still take to finish its work, e.g. to write a checkpoint; 0 without one."""
    return max([until - time.monotonic() for until in _ending_until], default=0.0)


def _end(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """End the process and those that it started, which share its session, and no others with it: Ctrl-C reaches none of them."""
    if process.poll() is None:
        _ending_until.append(time.monotonic() + grace_s)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        _ending_until.pop()


def _inherited() -> dict[str, str]:
    """This process's environment without settings: the child reads the effective settings from its file."""
    return {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}


def _watch(process: subprocess.Popen[bytes], log: Any, on_line: Callable[[dict[str, Any]], None], on_poll: Callable[[int], None]) -> None:
    rest = b""
    while True:
        on_poll(process.pid)
        is_over = process.poll() is not None
        *lines, rest = (rest + log.read()).split(b"\n")
        for line in lines:
            if line.strip():
                on_line(json.loads(line))
        if is_over:
            return
        time.sleep(_POLL_S)
