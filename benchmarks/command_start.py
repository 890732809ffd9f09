"""Time from starting `treeoflife` to its end: `--help`, `--version` and `release list` of an empty workspace.

Peer: `python -c pass` in the same interpreter, the time to start Python alone. Wall time, median of five. The peer's ratio is
always below one: 0.1x means that the command takes ten times as long as an empty program. `--help` must stay under 0.5 s.
CPU time is listed as well: the time on an idle core, independent of other load on the machine.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.measuring import Comparison, FactTable, Report, alternate, seconds_of
from benchmarks.registry import Context

_REPEATS = 5
_HELP_LIMIT_S = 0.5


def run(context: Context) -> Report:
    """Wall seconds of each command and of an empty program."""
    cases = {
        "treeoflife --help": ("--help",),
        "treeoflife --version": ("--version",),
        "treeoflife release list": ("release", "list", "--workspace", str(context.scratch / "workspace")),
    }
    comparisons = tuple(_compare(case, arguments, 1 if context.quick else _REPEATS) for case, arguments in cases.items())
    help_s = statistics.median(comparisons[0].ours_s)
    cpu_s = _cpu_seconds([sys.executable, "-m", "flows.commands.cli", "--help"])
    row = ("treeoflife --help", help_s, cpu_s, _HELP_LIMIT_S, "yes" if help_s < _HELP_LIMIT_S else "no")
    return Report(comparisons, (FactTable("Limit", ("command", "median s", "CPU s", "limit s", "within"), (row,)),))


def _compare(case: str, arguments: Sequence[str], repeats: int) -> Comparison:
    command = [sys.executable, "-m", "flows.commands.cli", *arguments]
    empty = [sys.executable, "-c", "pass"]
    _start(command)  # writes the bytecode
    return Comparison(case, "python -c pass", *alternate(lambda: _time(command), lambda: _time(empty), repeats))


def _time(command: list[str]) -> float:
    return seconds_of(lambda: _start(command))


def _cpu_seconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _start(command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _start(command: list[str]) -> None:
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
