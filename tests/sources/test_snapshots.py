"""A newer snapshot fetches only what is new, what left the provider or was withdrawn here leaves, and `sources diff` counts it all."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from bioclip import layout
from bioclip.digests import digest_path
from bioclip.download.stage import plan_images
from bioclip.errors import SettingsError, StorageError
from bioclip.partitions import read_stage
from bioclip.sample import sample_path
from bioclip.sample.demo import demo_settings
from bioclip.sample.server import SampleServer
from bioclip.selection.stage import plan_release
from bioclip.settings import PipelineSettings
from bioclip.sources.digest_cache import DigestCache
from bioclip.sources.snapshot_diff import compare_snapshots
from bioclip.sources.snapshots import archive_date, list_snapshots, read_snapshot
from bioclip.sources.stage import plan_records
from bioclip.storage import open_workspace
from bioclip.withdrawals import read_withdrawal_list
from flows.commands.cli import main
from tests.conftest import Curated, run_jobs, sample_settings


def media_lines() -> tuple[str, list[str]]:
    """(header, rows) of the bundled archive's media."""
    with zipfile.ZipFile(sample_path("field-observations")) as archive:
        header, *rows = archive.read("multimedia.txt").decode().splitlines()
    return header, rows


def write_archive(path: Path, rows: list[str]) -> Path:
    """The bundled archive with other media rows."""
    with zipfile.ZipFile(sample_path("field-observations")) as whole, zipfile.ZipFile(path, "w") as out:
        for info in whole.infolist():
            if info.filename != "multimedia.txt":
                out.writestr(info, whole.read(info))
        out.writestr(zipfile.ZipInfo("multimedia.txt", (2025, 3, 9, 0, 0, 0)), "\n".join([media_lines()[0], *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two snapshots: the second has 1 % new, 0.5 % withdrawn, and one title changed."""
    folder, rows = tmp_path_factory.mktemp("archives"), media_lines()[1]
    num_new, num_gone = len(rows) // 100, len(rows) // 200
    new = rows[num_gone:]
    fields = new[0].split("\t")
    fields[5] = "another title"
    return write_archive(folder / "old.zip", rows[:-num_new]), write_archive(folder / "new.zip", ["\t".join(fields), *new[1:]])


def with_archive(settings: PipelineSettings, archive: Path, **ingest: Any) -> PipelineSettings:
    """The settings with this archive as their only source."""
    source = settings.sources[0].model_copy(update={"path": str(archive)})
    return settings.model_copy(update={"sources": (source,), "ingest": settings.ingest.model_copy(update=ingest)})


def fetch(settings: PipelineSettings) -> set[str]:
    """Records and images; returns the ids of the current records."""
    storage = open_workspace(settings.workspace)
    run_jobs(storage, "records", plan_records(storage, settings))
    run_jobs(storage, "images", plan_images(storage, settings))
    tables = [pq.read_table(storage.uri(output.name), columns=["record_id"]) for output in read_stage(storage, "images").outputs]
    return set(pa.concat_tables(tables)["record_id"].to_pylist())


def test_a_second_snapshot_asks_only_for_what_is_new(archives: tuple[Path, Path], tmp_path: Path) -> None:
    with SampleServer() as server:
        settings = sample_settings(server, tmp_path / "w")
        before = fetch(with_archive(settings, archives[0]))
        first = server.request_counts
        after = fetch(with_archive(settings, archives[1]))
        asked = server.request_counts - first
    new = {line.split("\t")[3].removeprefix("http://media.treeoflife.example/") for line in media_lines()[1][-7:]}
    passing = {path for path, fault in server.faults.items() if fault["fault"] in {"unavailable", "truncated"}}
    assert set(asked) == new | (passing & set(first))
    assert sum(asked.values()) < 0.05 * sum(first.values())
    assert (len(after - before), len(before - after)) == (7, 3)
    storage = open_workspace(settings.workspace)
    snapshots = list_snapshots(storage, "field-observations")
    assert len(snapshots) == 2
    current = {output.name.split("/")[2] for output in read_stage(storage, "records").outputs}
    assert len(current) == 1
    assert {snapshot.date for snapshot in snapshots} == {"2025-03-09"}


def test_the_counts_of_a_comparison_and_its_table(archives: tuple[Path, Path], tmp_path: Path, sample_server: SampleServer) -> None:
    settings = with_archive(sample_settings(sample_server, tmp_path / "w"), archives[0])
    output = tmp_path / "differences.parquet"
    _, _, counts = compare_snapshots(settings, [str(path) for path in archives], output=output)
    assert (counts.added, counts.changed, counts.withdrawn, counts.unchanged) == (7, 1, 3, 771)
    assert +counts.columns == {"title": 1}
    table = pq.read_table(output)
    assert Counter(table["change"].to_pylist()) == {"added": 7, "changed": 1, "withdrawn": 3}
    assert table.filter(pa.compute.equal(table["change"], "changed"))["columns"].to_pylist() == [["title"]]
    assert table["record_id"].to_pylist() == sorted(table["record_id"].to_pylist())
    assert not list((tmp_path / "w").rglob("scratch-*"))


def test_snapshots_cut_into_other_partitions_compare_the_same(
    archives: tuple[Path, Path], tmp_path: Path, sample_server: SampleServer
) -> None:
    settings = sample_settings(sample_server, tmp_path / "w")
    storage = open_workspace(settings.workspace)
    for archive, num_partitions in zip(archives, (5, 8), strict=True):
        run = with_archive(settings, archive, num_partitions=num_partitions)
        run_jobs(storage, "records", plan_records(storage, run))
    _, _, counts = compare_snapshots(with_archive(settings, archives[0]), [])
    assert {counts.added, counts.withdrawn} == {7, 3}
    assert (counts.changed, counts.unchanged) == (1, 771)


def test_the_command_prints_the_counts(archives: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = demo_settings("127.0.0.1:1", tmp_path / "w")
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(tree))
    command = ["sources", "diff", *map(str, archives), "--settings", str(tmp_path / "settings.yaml")]
    assert main(command) == 2
    assert "choose one with --source NAME" in capsys.readouterr().err
    assert main([*command, "--source", "field-observations"]) == 0
    printed = capsys.readouterr().out.split()
    assert [printed[printed.index(word) + 1] for word in ("added", "changed", "withdrawn", "unchanged")] == ["7", "1", "3", "771"]
    assert main(["sources", "diff", "--source", "eol", "--settings", str(tmp_path / "settings.yaml")]) == 1
    assert "has 0 snapshots" in capsys.readouterr().err


def test_a_snapshot_that_is_not_there_names_those_that_are(curated: Curated) -> None:
    [snapshot] = list_snapshots(curated.storage, "eol")
    with pytest.raises(StorageError, match=rf"snapshot 'nope' of source 'eol' is not in .*; available: {snapshot.snapshot}"):
        read_snapshot(curated.storage, "eol", "nope")


def test_etag_and_date_are_told_and_decide_nothing(tmp_path: Path, sample_server: SampleServer) -> None:
    settings = sample_settings(sample_server, tmp_path / "w")
    storage = open_workspace(settings.workspace)
    plain = run_jobs(storage, "records", plan_records(storage, settings))
    told = tuple(source.model_copy(update={"etag": '"abc"', "snapshot_date": "2026-01-31"}) for source in settings.sources)
    again = run_jobs(storage, "records", plan_records(storage, settings.model_copy(update={"sources": told})))
    assert all(result.reused for result in again)
    other = settings.model_copy(update={"sources": told, "workspace": settings.workspace.model_copy(update={"uri": str(tmp_path / "v")})})
    elsewhere = open_workspace(other.workspace)
    results = run_jobs(elsewhere, "records", plan_records(elsewhere, other))
    assert [result.manifest.to_dict() for result in results] == [result.manifest.to_dict() for result in plain]
    [snapshot] = list_snapshots(elsewhere, "eol")
    assert (snapshot.date, snapshot.etag) == ("2026-01-31", '"abc"')


def test_an_archives_date_is_of_its_content(archives: tuple[Path, Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy.zip"
    shutil.copy(archives[0], copy)
    assert archive_date(copy) == archive_date(archives[0]) == "2025-03-09"
    assert archive_date(tmp_path) == ""
    assert layout.without_snapshot("records/eol/0123456789ab/part-00001.parquet") == "records/eol/part-00001.parquet"


class TestWithdrawal:
    def test_ids_and_urls_leave_at_ingest_and_only_they_redo_it(self, tmp_path: Path, curated: Curated) -> None:
        records = pq.read_table(curated.storage.uri(read_stage(curated.storage, "records").outputs[0].name)).to_pylist()
        listed = tmp_path / "takedown.csv"
        listed.write_text(f"what,why\n# by request\n{records[0]['record_id'].upper()},asked\n\n{records[1]['media_url']}\n")
        settings = curated.settings.model_copy(
            update={
                "workspace": curated.settings.workspace.model_copy(update={"uri": str(tmp_path / "w")}),
                "ingest": curated.settings.ingest.model_copy(update={"takedown": str(listed)}),
            }
        )
        storage = open_workspace(settings.workspace)
        results = run_jobs(storage, "records", plan_records(storage, settings))
        counts = read_stage(storage, "records").counts
        assert counts.dropped["taken_down"] == 2
        assert counts.written == read_stage(curated.storage, "records").counts.written - 2
        with listed.open("a") as stream:
            stream.write("0" * 64 + "\n")
        assert all(result.reused for result in run_jobs(storage, "records", plan_records(storage, settings)))
        assert {result.manifest.key for result in results} != {result.manifest.key for result in curated.results["records"]}

    def test_hashes_leave_at_the_release(self, tmp_path: Path, curated: Curated) -> None:
        shutil.copytree(curated.storage.root, tmp_path / "w")
        samples = curated.release.samples(["record_id", "sha256", "split"]).to_pylist()
        gone = next(sample for sample in samples if sample["split"] == "train")
        listed = tmp_path / "hashes.txt"
        listed.write_text(gone["sha256"] + "\n")
        settings = curated.settings.model_copy(
            update={
                "workspace": curated.settings.workspace.model_copy(update={"uri": str(tmp_path / "w")}),
                "ingest": curated.settings.ingest.model_copy(update={"takedown": str(listed)}),
            }
        )
        storage = open_workspace(settings.workspace)
        assert all(result.reused for result in run_jobs(storage, "records", plan_records(storage, settings)))
        [result] = run_jobs(storage, "release", plan_release(storage, settings))
        table = pq.read_table(storage.uri("splits/samples.parquet")).to_pylist()
        [row] = [row for row in table if row["record_id"] == gone["record_id"]]
        assert (row["split"], row["drop_reason"], row["drop_detail"]) == ("", "taken_down", gone["sha256"])
        assert result.manifest.counts.dropped["taken_down"] == sum(sample["sha256"] == gone["sha256"] for sample in samples)

    def test_every_address_that_the_product_prints_is_taken(self, tmp_path: Path, curated: Curated) -> None:
        outputs = read_stage(curated.storage, "records").outputs
        urls = {url for output in outputs for url in pq.read_table(curated.storage.uri(output.name))["media_url"].to_pylist()}
        urls |= {
            "local:birds/a%20b.jpg",
            "local:photos.zip!/x/1.jpg",
            "file:///data/a.jpg",
            "https://x.org/a b.jpg",
            "https://x.org/1,2.jpg",
        }
        listed = tmp_path / "list.txt"
        listed.write_text("\n".join(sorted(urls)), encoding="utf-8")
        assert urls <= read_withdrawal_list(str(listed)).urls

    def test_remarks_may_span_lines_and_only_words_are_a_header(self, tmp_path: Path) -> None:
        listed = tmp_path / "list.csv"
        listed.write_text(f'media_url,why\nhttps://x.org/a.jpg,"one\ntwo"\n{"A" * 64},x\n', encoding="utf-8")
        assert (read_withdrawal_list(str(listed)).urls, read_withdrawal_list(str(listed)).hashes) == ({"https://x.org/a.jpg"}, {"a" * 64})
        listed.write_text("eol:123\n")
        with pytest.raises(SettingsError, match="line 1: 'eol:123' is not a record id"):
            read_withdrawal_list(str(listed))

    def test_what_is_none_of_the_three_is_named_with_its_line(self, tmp_path: Path) -> None:
        listed = tmp_path / "list.txt"
        listed.write_text("record_id\nnot-an-id\n")
        with pytest.raises(SettingsError, match=r"list\.txt' line 2: 'not-an-id' is not a record id"):
            read_withdrawal_list(str(listed))
        with pytest.raises(SettingsError, match=r"ingest\.takedown: there is no file .*absent\.txt'; correct the path"):
            read_withdrawal_list(str(tmp_path / "absent.txt"))
        assert read_withdrawal_list("").ingest_digest == ""


class TestDigestCache:
    def test_an_unchanged_file_is_read_once_and_a_changed_one_again(self, tmp_path: Path) -> None:
        archive = tmp_path / "a" / "archive.zip"
        archive.parent.mkdir()
        archive.write_bytes(b"one")
        os.utime(archive, ns=(10**18, 10**18))
        first = DigestCache(tmp_path / "digests.json")
        assert first.digest(archive) == digest_path(archive)
        first.save()
        second = DigestCache(tmp_path / "digests.json")
        assert second.digest(archive.parent) == digest_path(archive.parent)
        assert (first.num_read, second.num_read) == (1, 0)
        archive.write_bytes(b"two")
        os.utime(archive, ns=(10**18, 10**18 + 1))
        assert second.digest(archive) == digest_path(archive)
        assert second.num_read == 1

    def test_a_young_file_and_a_damaged_memory_are_not_trusted(self, tmp_path: Path) -> None:
        archive, memory = tmp_path / "archive.zip", tmp_path / "digests.json"
        archive.write_bytes(b"one")
        cache = DigestCache(memory)
        cache.digest(archive)
        cache.save()
        assert not memory.exists()
        memory.write_text('{"x": 1}')
        assert DigestCache(memory).digest(archive) == digest_path(archive)
