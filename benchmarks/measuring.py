"""Alternating repeats, ratios with their spread, tables, and results as JSON without host names, paths or clocks."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_PACKAGES = ("aiohttp", "ImageHash", "numpy", "pillow", "pyarrow", "webdataset")


@dataclass(frozen=True)
class Comparison:
    """One case: seconds of each repeat, ours and the peer's, for the same `amount` of work.

    `peer_s` is empty if the peer did not run, and `peer` then states why. `unit` is the unit of amount / seconds; '' shows seconds.
    """

    case: str
    peer: str
    ours_s: tuple[float, ...]
    peer_s: tuple[float, ...]
    amount: float = 1.0
    unit: str = ""

    @property
    def ratio(self) -> float | None:
        """Our speed relative to the peer's, by the medians; None without a peer."""
        return statistics.median(self.peer_s) / statistics.median(self.ours_s) if self.peer_s else None

    @property
    def spread(self) -> tuple[float, float] | None:
        """Least and greatest ratio of a repeat with the peer's repeat that followed it."""
        ratios = [theirs / ours for ours, theirs in zip(self.ours_s, self.peer_s, strict=False)]
        return (min(ratios), max(ratios)) if ratios else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values with rounded figures."""
        return {
            "case": self.case,
            "peer": self.peer,
            "amount": self.amount,
            "unit": self.unit,
            "ours_s": [_rounded(seconds) for seconds in self.ours_s],
            "peer_s": [_rounded(seconds) for seconds in self.peer_s],
            "ratio": None if self.ratio is None else _rounded(self.ratio),
            "spread": None if self.spread is None else [_rounded(ratio) for ratio in self.spread],
        }

    def cells(self) -> list[str]:
        """A row of the printed table."""
        ours, theirs = (self._shown(seconds) for seconds in (self.ours_s, self.peer_s))
        if self.ratio is None or self.spread is None:
            return [self.case, self.peer, ours, "-", "-"]
        return [self.case, self.peer, ours, theirs, f"{self.ratio:.2f}x ({self.spread[0]:.2f}-{self.spread[1]:.2f}, n={len(self.peer_s)})"]

    def _shown(self, seconds: Sequence[float]) -> str:
        if not seconds:
            return "-"
        median = statistics.median(seconds)
        return f"{self.amount / median:.4g} {self.unit}" if self.unit else f"{median:.3g} s"


@dataclass(frozen=True)
class FactTable:
    """Figures other than comparisons of times: counts, recall, drift."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values: numpy's scalars, which JSON does not know, become Python's."""
        plain = [[value.item() if isinstance(value, np.generic) else value for value in row] for row in self.rows]
        return {"title": self.title, "header": list(self.header), "rows": plain}


@dataclass(frozen=True)
class Report:
    """The result of a benchmark."""

    comparisons: tuple[Comparison, ...]
    facts: tuple[FactTable, ...] = field(default=())

    def to_dict(self, name: str, quick: bool) -> dict[str, Any]:
        """The content of results/<name>.json."""
        return {
            "benchmark": name,
            "quick": quick,
            "machine": describe_machine(),
            "comparisons": [comparison.to_dict() for comparison in self.comparisons],
            "facts": [table.to_dict() for table in self.facts],
        }

    def text(self) -> str:
        """All tables, aligned."""
        tables = [_aligned([["case", "peer", "ours", "peer's", "ratio (spread)"], *(c.cells() for c in self.comparisons)])]
        for table in self.facts:
            cells = [list(table.header), *([_cell(value) for value in row] for row in table.rows)]
            tables.append(f"{table.title}\n{_aligned(cells)}")
        return "\n\n".join(tables)


def seconds_of(work: Callable[[], Any]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def cpu_seconds_of(work: Callable[[], Any]) -> float:
    """CPU time of one call in this process: the time on an idle core, independent of other load on the machine."""
    started = time.process_time()
    work()
    return time.process_time() - started


def alternate(
    ours: Callable[[], float], peer: Callable[[], float] | None, repeats: int, budget_s: float = 150.0
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Seconds returned by each side's call, in alternation, so that other load on the machine affects both equally.

    Stops early, but not before the second repeat, once the total exceeds `budget_s`.
    """
    ours_s: list[float] = []
    peer_s: list[float] = []
    started = time.monotonic()
    for repeat in range(repeats):
        if repeat >= 2 and time.monotonic() - started > budget_s:
            break
        ours_s.append(ours())
        if peer is not None:
            peer_s.append(peer())
    return tuple(ours_s), tuple(peer_s)


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_machine() -> dict[str, Any]:
    """Cores, architecture, Python and the packages that the figures depend on."""
    return {
        "cores": num_cores(),
        "architecture": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES if _installed(name)},
    }


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
