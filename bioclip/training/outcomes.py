"""How each process of a training run failed: one JSON file per process beside the run's log, for the task that started the run.

torchrun replaces the error of a process by its own and its exit code by 1; these files keep both. Does not import torch.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bioclip.errors import TrainingStoppedError, TreeOfLifeError

_MAX_CHARS = 1000


@dataclass(frozen=True)
class Failure:
    """How process `rank` ended. `is_expected` for an error raised on purpose; `stopped` if a signal ended training after a checkpoint."""

    rank: int
    sentence: str
    exit_code: int
    is_expected: bool
    stopped: bool
    time_ns: int

    @property
    def order(self) -> tuple[int, int]:
        """The cause sorts first: errors that are expected, then others, each by time. A process that is stopped because another
        failed is not the cause; nor is one that only lost its connection, since it fails later."""
        return (2 if self.stopped else int(not self.is_expected), self.time_ns)


def write_failure(log_path: Path, rank: int, error: BaseException) -> None:
    """Record how the process `rank` failed, beside the log `log_path`."""
    is_expected = isinstance(error, TreeOfLifeError)
    text = " ".join(str(error).split())[:_MAX_CHARS]
    failure = Failure(
        rank=rank,
        sentence=text if is_expected else f"training failed: {type(error).__name__}: {text}",
        exit_code=error.exit_code if isinstance(error, TreeOfLifeError) else 1,
        is_expected=is_expected,
        stopped=isinstance(error, TrainingStoppedError),
        time_ns=time.time_ns(),
    )
    path = _path(log_path, rank)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(failure)), encoding="utf-8")
    partial.replace(path)


def read_failures(log_path: Path) -> list[Failure]:
    """The failures recorded beside the log `log_path`, the cause first."""
    found = [Failure(**json.loads(path.read_text(encoding="utf-8"))) for path in _paths(log_path)]
    return sorted(found, key=lambda failure: failure.order)


def remove_failures(log_path: Path) -> None:
    """Remove the failures of an earlier run with the same log."""
    for path in _paths(log_path):
        path.unlink()


def _path(log_path: Path, rank: int) -> Path:
    return log_path.with_name(f"{log_path.stem}.failure-{rank}.json")


def _paths(log_path: Path) -> Sequence[Path]:
    return sorted(log_path.parent.glob(f"{log_path.stem}.failure-*.json"))
