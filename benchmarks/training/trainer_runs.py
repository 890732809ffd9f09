"""Runs of this project's trainer and of open_clip's on the same shards, each in a process of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bioclip.errors import TrainingError
from bioclip.releases import Release
from bioclip.settings.loading import build_settings, to_yaml

_SPEED = re.compile(r"([0-9.]+)/s/gpu")
_WAIT = re.compile(r"Data \(t\): ([0-9.]+) Batch \(t\): ([0-9.]+)")


@dataclass(frozen=True)
class TrainerRun:
    """CPU seconds of a finished process, and the log lines of its steps."""

    cpu_s: float
    lines: tuple[Mapping[str, Any], ...]


def run_ours(release: Release, training: Mapping[str, Any], environment: Mapping[str, str]) -> TrainerRun:
    """Train on a release in `<workspace>/releases`; the model is removed afterwards, so that the next run trains again."""
    workspace = Path(release.storage.root).parent.parent
    with tempfile.TemporaryDirectory() as folder:
        settings, log = Path(folder, "settings.yaml"), Path(folder, "log.jsonl")
        settings.write_text(to_yaml(build_settings({"workspace": {"uri": str(workspace)}, "training": dict(training)})), encoding="utf-8")
        arguments = ["-m", "bioclip.training", "--settings", str(settings), "--release", release.version, "--log-path", str(log)]
        cpu_s = _cpu_seconds([sys.executable, *arguments], environment)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
    shutil.rmtree(workspace / "models", ignore_errors=True)
    return TrainerRun(cpu_s, tuple(line for line in lines if "event" not in line))


def run_open_clip(release: Release, arguments: Sequence[str], environment: Mapping[str, str], configs: str = "") -> TrainerRun:
    """Train with open_clip_train on the release's shards of `train`; `configs` is a folder of further architectures."""
    shards = Path(release.storage.root, "shards", "train")
    tars = sorted(path.name for path in shards.glob("*.tar"))
    pattern = f"{shards}/shard-{{{tars[0][6:11]}..{tars[-1][6:11]}}}.tar"
    with tempfile.TemporaryDirectory() as folder:
        given = ["--dataset-type", "webdataset", "--train-data", pattern, "--logs", folder, "--name", "run", "--save-frequency", "0"]
        command = [sys.executable, "-m", "benchmarks.training.open_clip_trainer", configs, *given, *arguments]
        cpu_s = _cpu_seconds(command, environment)
        log = Path(folder, "run", "out.log").read_text()
    return TrainerRun(cpu_s, tuple(_open_clip_lines(log)))


def _open_clip_lines(log: str) -> list[dict[str, float]]:
    lines = []
    for line in log.splitlines():
        if (speed := _SPEED.search(line)) and (wait := _WAIT.search(line)):
            share = float(wait[1]) / max(float(wait[2]), 1e-9)
            lines.append({"samples_per_second": float(speed[1]), "data_wait_share": round(share, 4)})
    return lines


def _cpu_seconds(command: Sequence[str], environment: Mapping[str, str]) -> float:
    """User and system time of a process and its children; raises TrainingError with the end of its output if it fails."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise TrainingError(f"{' '.join(command[:4])} failed with exit code {process.returncode}: {output.read().decode()[-2000:]}")
    return usage.ru_utime + usage.ru_stime
