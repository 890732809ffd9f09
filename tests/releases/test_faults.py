"""A release whose build is killed equals an undisturbed one, and every corruption is found; `benchmarks` tests this at scale."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.__main__ import run_benchmark
from benchmarks.peers import Peers
from benchmarks.releases.release_faults import KINDS, corrupt_release, kill_builds, small_release
from bioclip.releases.manifest import Release


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Release:
    second = small_release(tmp_path_factory.mktemp("small"))
    assert second.parent[0]
    return second


@pytest.mark.service
@pytest.mark.slow
def test_a_build_killed_at_random_moments_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    done = kill_builds(tmp_path, num_images=80, num_kills=2)
    assert done.num_kills == 2
    assert done.num_builds >= 1


@pytest.mark.slow
def test_the_deep_check_finds_every_corruption_of_a_release_with_kept_shards(small: Release) -> None:
    assert any(name.startswith("../") for split in small.manifest["splits"] for name in small.shards(split))
    found = corrupt_release(small, 40)
    assert sum(done for done, _, _ in found.values()) == sum(deep for _, _, deep in found.values()) == 40
    assert {kind for kind, (done, _, _) in found.items() if done} == set(KINDS)


def test_the_benchmark_of_increments_leaves_old_shards_as_they_were() -> None:
    report = run_benchmark("release_increment", True, Peers(install=False), None)
    releases, shards = ([dict(zip(table.header, row, strict=True)) for row in table.rows] for table in report.facts)
    assert [row["old shards' digests"] for row in releases] == ["", "unchanged"] * 2
    assert [float(row["% written"]) < 6 for row in releases] == [False, True, False, False]
    assert all((row["samples added"], row["samples removed"]) == (12, 10) for row in shards)
    assert all(row["kept"] > row["rewritten"] for row in shards)
