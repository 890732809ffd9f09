"""The benchmark of preprocessing states equality to the last pixel, and what the fast option changes."""

from __future__ import annotations

from pathlib import Path

from benchmarks.models.evaluation_preprocessing import CONFIGS, run
from benchmarks.peers import Peers
from benchmarks.registry import Context


def test_bundled_photographs_are_equal_in_every_configuration(tmp_path: Path) -> None:
    report = run(Context(True, tmp_path, Peers(install=False)))
    equal, effect, features = report.facts
    assert list(equal.rows) == [(name, "12 of 12 equal") for name in CONFIGS]
    assert {name: changed for name, changed, *_ in effect.rows}["64 bicubic, shortest"] < 12
    assert features.rows[0][1] == 12
