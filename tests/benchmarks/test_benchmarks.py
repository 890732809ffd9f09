"""Benchmarks run, are right about what they count, and say plainly when a peer is missing; their times are never judged here."""

from __future__ import annotations

import gc
import io
import json
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.__main__ import main, run_benchmark
from benchmarks.acquisition.media_server import make_certificate, served
from benchmarks.duplicates.duplicate_search import brute_force_pairs, planted_hashes, with_hub
from benchmarks.measuring import Comparison, Report, alternate
from benchmarks.peers import Peers
from benchmarks.photographs import large_photographs
from benchmarks.registry import NAMES, load
from bioclip.duplicates.hamming.self_search import near_pairs
from bioclip.errors import UnknownNameError

PEERS_LEFT_OUT = Peers(install=False)


@pytest.fixture
def no_cached_peers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache, so that every peer with an environment of its own is missing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def get(url: str) -> bytes:
    """The body at a loopback address; raises urllib's errors."""
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - the test's own server
        return bytes(answer.read())


def facts_of(report: Report, title: str) -> list[dict[str, object]]:
    """The rows of the fact table whose title starts so, by column."""
    [table] = [table for table in report.facts if table.title.startswith(title)]
    return [dict(zip(table.header, row, strict=True)) for row in table.rows]


def test_every_registered_benchmark_says_what_it_measures_and_beside_whom() -> None:
    for name in NAMES:
        assert "Peer" in load(name)[1]


def test_an_unknown_benchmark_is_named_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnknownNameError, match="duplicate_search"):
        load("duplicate-search")
    assert main(["duplicate-search"]) == 2
    assert " download, download_faults, " in capsys.readouterr().err


@pytest.mark.usefixtures("no_cached_peers")
@pytest.mark.nightly
def test_duplicate_search_finds_what_brute_force_finds_and_misses_its_peer_aloud(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run_benchmark("duplicate_search", True, PEERS_LEFT_OUT, tmp_path)
    against_brute_force = [row for row in facts_of(report, "Exactness") if row["reference"] == "brute force"]
    assert len(against_brute_force) == 3
    assert all(row["recall"] == 1.0 and row["pairs beyond it"] == 0 and row["pairs"] for row in against_brute_force)
    assert "faiss-cpu 1.15.1 is not installed" in capsys.readouterr().out
    assert all(comparison.ratio is None for comparison in report.comparisons)
    written = json.loads((tmp_path / "duplicate_search.json").read_bytes())
    assert [row["case"] for row in written["comparisons"]] == [comparison.case for comparison in report.comparisons]
    assert written["machine"].keys() == {"cores", "architecture", "system", "python", "packages"}


@pytest.mark.usefixtures("no_cached_peers")
def test_image_hashing_drifts_by_few_bits_where_the_product_decodes() -> None:
    report = run_benchmark("image_hashing", True, PEERS_LEFT_OUT, None)
    drifts = facts_of(report, "Drift")
    assert max(row["max bits"] for row in drifts if row["decode px"] == 256) <= 2
    assert [comparison.peer for comparison in report.comparisons if comparison.ratio] == ["ImageHash 4.3.2"] * 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")  # webdataset's own, at import
def test_shards_hold_the_same_members_whoever_writes_them() -> None:
    written = facts_of(run_benchmark("shard_writing", True, PEERS_LEFT_OUT, None), "What was written")
    assert len(written) == 5
    assert {row["members"] for row in written} == {200 * 13}
    assert len({row["SHA-256 of names and contents"] for row in written}) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning", "ignore::ResourceWarning")  # webdataset's own
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.nightly
def test_shards_are_read_back_alike_whoever_wrote_them() -> None:
    report = run_benchmark("shard_reading", True, PEERS_LEFT_OUT, None)
    read = facts_of(report, "What was read")
    assert [row["samples"] for row in read] == [200, 200]
    assert len({row["SHA-256 of keys and members"] for row in read}) == 1
    assert all(comparison.ratio for comparison in report.comparisons)
    gc.collect()


@pytest.mark.service
@pytest.mark.usefixtures("no_cached_peers")
@pytest.mark.nightly
def test_every_image_comes_through_http_and_https(tmp_path: Path) -> None:
    report = run_benchmark("download", True, PEERS_LEFT_OUT, tmp_path)
    stored = [(row["case"], row["by"], row["images"]) for row in facts_of(report, "Images stored")]
    assert stored == [("HTTP", "ours", "80 of 80"), ("HTTPS", "ours", "80 of 80")]
    assert str(tmp_path) not in (tmp_path / "download.json").read_text()


@pytest.mark.service
def test_the_server_answers_by_name_and_refuses_others(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"image")
    with served(tmp_path, None) as address:
        assert get(f"{address}/a.jpg?2") == b"image"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(f"{address}/b.jpg")


@pytest.mark.service
def test_https_without_the_certificate_is_not_trusted(tmp_path: Path) -> None:
    with served(tmp_path, make_certificate(tmp_path)) as address, pytest.raises(urllib.error.URLError, match="certificate verify failed"):
        get(f"{address}/a.jpg")


def test_planted_hashes_are_balanced_and_a_tenth_of_them_near_others() -> None:
    hashes = planted_hashes(3_000, 5)
    assert len(hashes) == 3_000
    assert (np.bitwise_count(hashes) == 32).mean() > 0.9
    assert 100 < len(near_pairs(hashes, 12).first) < 400


def test_a_hub_is_searched_exactly() -> None:
    hashes = with_hub(planted_hashes(4_000, 1), 250, seed=3)
    pairs = near_pairs(hashes, 6)
    assert np.array_equal(pairs.first * len(pairs.unique) + pairs.second, brute_force_pairs(pairs.unique, 6))
    assert len(pairs.first) > 10_000


def test_photographs_are_the_same_bytes_every_time_and_of_web_size() -> None:
    photographs = list(large_photographs(10))
    assert photographs == list(large_photographs(10))
    assert 100_000 < np.median([len(data) for data in photographs]) < 200_000
    assert {max(Image.open(io.BytesIO(data)).size) for data in photographs} == {1024}


def test_sides_take_turns_and_the_ratio_is_that_of_the_medians() -> None:
    turns: list[str] = []

    def side(name: str, seconds: list[float]) -> float:
        turns.append(name)
        return seconds.pop(0)

    ours, peer = [1.0, 2.0, 9.0], [8.0, 3.0, 18.0]
    comparison = Comparison("case", "peer", *alternate(lambda: side("ours", ours), lambda: side("peer", peer), 3))
    assert turns == ["ours", "peer"] * 3
    assert comparison.ratio == 4.0
    assert comparison.spread == (1.5, 8.0)


def test_repeats_stop_when_they_take_too_long_but_never_before_the_second() -> None:
    assert alternate(lambda: 1.0, None, repeats=5, budget_s=0.0) == ((1.0, 1.0), ())
