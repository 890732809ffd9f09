"""Lines of JSON-lines logs as points of metrics: the queue between a run and MLflow, which survives both."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_NOT_METRICS = {"step", "time", "event", "done", "num_images"}
_PROBE = "probe"


@dataclass(frozen=True)
class MetricPoint:
    """Values of one step; `step` None means the seconds since the start of the run.

    The last step of the metric `anchor` in MLflow states which points MLflow already has.
    """

    anchor: str
    step: int | None
    time_ms: int
    values: Mapping[str, float]


Reader = Callable[[Mapping[str, Any]], MetricPoint | None]
"""The point of a line, or None for a line without metrics."""


def read_training_line(line: Mapping[str, Any]) -> MetricPoint | None:
    """The metrics of a step, or of a probe under `probe/…`."""
    if "step" not in line or line.get("event", _PROBE) != _PROBE:
        return None
    values = _numbers(line)
    if line.get("event") == _PROBE:
        values = {f"{_PROBE}/{name}": value for name, value in values.items()}
        anchor = min(values, default="")
    else:
        anchor = "loss"
    return MetricPoint(anchor, int(line["step"]), _milliseconds(line), values) if anchor in values else None


def read_evaluation_line(line: Mapping[str, Any]) -> MetricPoint | None:
    """The speed of encoding; the step is the number of images encoded."""
    if line.get("event") != "encoded":
        return None
    name = f"encoding/{line['split']}_images_per_second"
    return MetricPoint(name, int(line["done"]), _milliseconds(line), {name: float(line["images_per_second"])})


def read_system_line(line: Mapping[str, Any]) -> MetricPoint | None:
    """A sample of the machine and of a process."""
    values = {f"system/{name}": float(value) for name, value in line["system"].items()}
    anchor = "system/cpu_utilization_percentage"
    return MetricPoint(anchor, None, _milliseconds(line), values) if anchor in values else None


@dataclass
class LineQueue:
    """The points of files, in order, from the first that is not known to be in MLflow; the last file may still grow.

    `take` may be repeated until `commit` confirms what it returned, so points outlive a failure of the one who takes them.
    """

    read: Reader
    paths: list[Path]
    _file: int = 0
    _offset: int = 0
    _next: tuple[int, int] = field(default=(0, 0))

    def take(self, max_points: int) -> list[MetricPoint]:
        """The next points after the confirmed position; [] at the end."""
        points: list[MetricPoint] = []
        for position, line in self._lines():
            self._next = position
            if (point := self.read(line)) is not None:
                points.append(point)
            if len(points) == max_points:
                break
        return points

    def commit(self) -> None:
        """Confirm the position after the points that were taken last."""
        self._file, self._offset = self._next

    def remaining(self) -> Iterator[MetricPoint]:
        """Every point after the confirmed position."""
        return (point for _, line in self._lines() if (point := self.read(line)) is not None)

    def _lines(self) -> Iterator[tuple[tuple[int, int], Mapping[str, Any]]]:
        """(position after it, line) of each complete line."""
        for number in range(self._file, len(self.paths)):
            if not self.paths[number].exists():
                continue
            with self.paths[number].open("rb") as stream:
                offset = stream.seek(self._offset if number == self._file else 0)
                for text in stream:
                    if not text.endswith(b"\n"):
                        break
                    offset += len(text)
                    line = _parse(text)
                    if line is not None:
                        yield (number, offset), line


def earlier_logs(folder: Path, identity: str, suffix: str) -> list[Path]:
    """Logs of all runs of `identity` so far, oldest first."""
    return sorted(folder.glob(f"{identity}-[0-9][0-9][0-9][0-9]{suffix}"))


def create_log(folder: Path, identity: str) -> Path:
    """A new empty log `<identity>-<number>.jsonl`; concurrent runs get different ones."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 1 + max((int(path.stem[-4:]) for path in earlier_logs(folder, identity, ".jsonl")), default=0)
    while True:
        path = folder / f"{identity}-{number:04d}.jsonl"
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            number += 1
            continue
        return path


def last_time_ms(queues: Sequence[LineQueue]) -> int | None:
    """Time of the latest point in files, None without one."""
    return max((point.time_ms for queue in queues for point in LineQueue(queue.read, queue.paths).remaining()), default=None)


def _parse(text: bytes) -> Mapping[str, Any] | None:
    """A line as JSON; None for one that a killed process cut."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def _numbers(line: Mapping[str, Any]) -> dict[str, float]:
    found = {name: value for name, value in line.items() if name not in _NOT_METRICS and isinstance(value, int | float)}
    return {name: float(value) for name, value in found.items() if not isinstance(value, bool) and not math.isnan(value)}


def _milliseconds(line: Mapping[str, Any]) -> int:
    return round(1000 * float(line.get("time", 0)))
