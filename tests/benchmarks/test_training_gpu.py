"""The benchmark of training on a GPU: what it reports without one, and that its code runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.__main__ import run_benchmark
from benchmarks.peers import Peers
from benchmarks.training.training_gpu import QUICK, measure
from bioclip.releases import open_release
from bioclip.storage import Storage
from tests.conftest import Curated


def test_without_a_gpu_it_reports_that_nothing_was_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    report = run_benchmark("training_gpu", False, Peers(install=False), None)
    assert report.comparisons == ()
    assert "not measured: no GPU" in capsys.readouterr().out


@pytest.mark.nightly
def test_a_small_model_on_the_cpu_gives_every_figure_beside_the_peers_two_ways(curated: Curated, tmp_path: Path) -> None:
    (tmp_path / "releases").symlink_to(Path(curated.release.storage.root).parent)
    report = measure(QUICK, open_release(Storage(str(tmp_path)), curated.release.version), tmp_path)
    assert [comparison.peer.rpartition(", ")[2] for comparison in report.comparisons] == ["defaults", "best flags"]
    assert all(comparison.ratio for comparison in report.comparisons)
    [table] = report.facts
    ours, *theirs = (dict(zip(table.header, row, strict=True)) for row in table.rows)
    assert ours["pairs/s"] > 0
    assert 0 <= ours["data-wait share"] <= 1
    assert ours["peak memory, MB"] > 100
    assert ours["MFU"] == "unknown", "a CPU has no known peak"
    assert [row["peak memory, MB"] for row in theirs] == ["unknown"] * 2
