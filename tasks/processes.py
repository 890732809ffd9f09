"""Training and evaluation as processes of their own: started, watched through their log of JSON lines, ended with their flow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bioclip.errors import TreeOfLifeError
from bioclip.settings.loading import ENVIRONMENT_PREFIX

_POLL_S = 0.2
_SHOWN_ERROR_CHARS = 2000


def run_watched(
    command: Sequence[str],
    environment: Mapping[str, str],
    log_path: Path,
    on_line: Callable[[dict[str, Any]], None],
    error: type[TreeOfLifeError],
) -> None:
    """Run `command` and hand over each line of its JSON-lines log as it comes; raises `error` with its last words when it fails."""
    log_path.parent.mkdir(parents=True, exist_ok=True)
    log_path.write_bytes(b"")
    bound = [sys.executable, "-m", "tasks.bound_process", str(os.getpid()), *command]
    with log_path.open("rb") as log, log_path.with_suffix(".stderr").open("w+b") as words:
        process = subprocess.Popen(bound, env={**_inherited(), **environment}, stdin=subprocess.DEVNULL, stdout=words, stderr=words)
        try:
            _watch(process, log, on_line)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        if process.returncode != 0:
            words.seek(0)
            said = words.read().decode(errors="replace").strip()[-_SHOWN_ERROR_CHARS:]
            raise error(said or f"{' '.join(command[:4])} … ended with code {process.returncode} and said nothing; see {log_path}.")


def _inherited() -> dict[str, str]:
    """This process's environment less the settings in it: the child reads the effective ones from its file."""
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
