"""Withdrawal of images: `trace` explains them, `withdraw` lists them, and their bytes are removed."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

import tasks.stages
from bioclip import layout
from bioclip.download.stage import plan_images, read_outcomes
from bioclip.partitions import PartitionResult, read_stage
from bioclip.releases.locating import open_release
from bioclip.shards.stage import release_version
from bioclip.sources.stage import plan_records
from bioclip.stages import find_stage
from bioclip.storage import Storage
from bioclip.trace import ImageTrace, Scope, find_images, trace_image, with_withdrawals
from bioclip.verification.verify import verify_release
from bioclip.withdrawals import read_withdrawals
from flows.commands.cli import main
from tests.conftest import plan_stages, run_jobs
from tests.releases.conftest import Grown


@pytest.fixture
def storage(grown: Grown, tmp_path: Path) -> Storage:
    shutil.copytree(grown.storage.root, tmp_path / "workspace")
    return Storage(str(tmp_path / "workspace"))


def traced(grown: Grown, record_id: str, release: Any, which: str = "second") -> ImageTrace:
    return trace_image(with_withdrawals(Scope(release, grown.storage), grown.settings_of(which).ingest), record_id)


class TestTrace:
    def test_a_record_withdrawn_by_id_is_said_to_be_with_its_list_and_the_releases_that_still_hold_it(self, grown: Grown) -> None:
        record_id = min(grown.withdrawn)
        scope = with_withdrawals(Scope(grown.second, grown.storage), grown.settings_of("second").ingest)
        assert find_images(scope, record_id) == [record_id]
        found = trace_image(scope, record_id)
        listed = grown.settings_of("second").ingest.takedown
        assert (found.final.stage, found.final.reason, found.final.detail) == ("records", "taken_down", f"listed in {listed}")
        step = found.step("releases")
        [row] = [row for row in grown.first.samples().to_pylist() if row["record_id"] == record_id]
        assert step.facts["in_releases"] == {grown.first.version: {"split": row["split"], "shard": row["shard"]}}
        assert (step.facts["not_in"], step.facts["withdrawn_by"]) == ([grown.second.version], listed)
        assert f"`treeoflife release gc --discard {grown.first.version} --delete`" in step.remarks[0]
        assert step.facts["evaluated_on"].startswith(f"no, neither by {grown.second.version}")

    def test_the_command_reads_the_lists(self, grown: Grown, capsys: pytest.CaptureFixture[str]) -> None:
        record_id, listed = min(grown.withdrawn), grown.settings_of("second").ingest.takedown
        assert main(["trace", record_id, "--workspace", grown.storage.root, "--set", f"ingest.takedown={listed}"]) == 0
        printed = capsys.readouterr().out
        assert printed.startswith(f"{record_id}: dropped by records, taken_down (listed in {listed})\n")
        assert f"    {grown.first.version}: split train, shard shards/train/" in printed

    def test_it_is_found_by_its_address_and_hash_of_the_release_that_holds_it(self, grown: Grown) -> None:
        [row] = [row for row in grown.first.samples().to_pylist() if row["record_id"] == min(grown.withdrawn)]
        for name in (row["media_url"], row["sha256"], f"{row['source']}:{row['source_id']}"):
            assert row["record_id"] in find_images(Scope(grown.second, grown.storage), name)

    def test_a_record_that_is_merely_gone_is_not_said_to_be_withdrawn(self, grown: Grown) -> None:
        found = trace_image(Scope(grown.second, grown.storage), min(grown.withdrawn))
        assert (found.final.stage, found.final.reason) == ("records", "not_in_workspace")
        assert grown.first.version in found.final.detail

    def test_an_image_of_a_later_release_comes_with_its_place_there(self, grown: Grown) -> None:
        kept = {row["record_id"]: row for row in grown.second.samples().to_pylist() if row["split"]}
        record_id = min(grown.added & kept.keys())
        found = traced(grown, record_id, grown.first)
        assert (found.final.stage, found.final.reason) == ("release", "not_considered")
        assert grown.second.version in found.final.detail
        place = found.step("releases").facts["in_releases"][grown.second.version]
        assert (place["split"], place["shard"]) == (kept[record_id]["split"], kept[record_id]["shard"])
        assert place["alias"] == "latest"
        assert found.step("releases").facts["not_in"] == [grown.first.version]

    def test_what_the_line_evaluated_on_is_stated(self, grown: Grown) -> None:
        for split in ("val", "heldout"):
            row = next(row for row in grown.second.samples().to_pylist() if row["split"] == split)
            stated = traced(grown, row["record_id"], grown.second).step("releases").facts["evaluated_on"]
            assert stated.startswith(f"{split}, as a sample, in {grown.second.version}")
        with grown.second.storage.reader("evaluated.parquet") as stream:
            behind = next(row for row in pq.read_table(stream).to_pylist() if not row["is_sample"])
        stated = traced(grown, behind["record_id"], grown.second).step("releases").facts["evaluated_on"]
        assert stated.startswith(f"{behind['split']}, as a duplicate of a sample")


def test_the_task_hands_the_listed_hashes_to_the_downloads(grown: Grown, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write_bytes("takedown.txt", b"0" * 64)
    monkeypatch.setattr(tasks.stages, "run_stage", lambda name, jobs, context: jobs)
    settings = grown.settings_of("second", storage.root)
    context: Any = SimpleNamespace(settings=settings, storage=storage, cluster=SimpleNamespace(own_host="127.0.0.1"))
    jobs: Any = tasks.stages.stage_task(find_stage("images")).fn(context)
    assert {job.arguments["withdrawn"] for job in jobs} == {frozenset({"0" * 64})}


class TestWithdraw:
    def run(self, storage: Storage, *arguments: str) -> int:
        return main(["withdraw", "--workspace", storage.root, *arguments])

    def test_what_is_withdrawn_is_listed_once_and_stated_where_it_is(
        self, grown: Grown, storage: Storage, capsys: pytest.CaptureFixture[str]
    ) -> None:
        row = next(row for row in grown.second.samples().to_pylist() if row["split"] == "train" and row["record_id"] not in grown.added)
        assert self.run(storage, row["record_id"].upper(), row["sha256"], "--reason", "asked, by its\nphotographer") == 0
        printed = capsys.readouterr().out
        assert f"{row['record_id']}: listed; 1 records ({row['record_id']}), samples in " in printed
        for version in (grown.first.version, grown.second.version):
            assert f"--discard {version}" in printed
        assert "next: `treeoflife curate`" in printed
        text = storage.read_bytes("takedown.txt").decode()
        assert [line.split(",")[0] for line in text.splitlines()[1:]] == [row["record_id"], row["sha256"]]
        assert text.count('"asked, by its photographer"') == 2
        assert self.run(storage, row["record_id"], row["sha256"]) == 0
        assert "already listed" in capsys.readouterr().out
        assert storage.read_bytes("takedown.txt").decode() == text

    def test_ingest_reads_the_workspaces_own_list_besides_the_named_one(self, grown: Grown, storage: Storage) -> None:
        record_id = next(row["record_id"] for row in grown.second.samples().to_pylist() if row["split"] == "train")
        settings = grown.settings_of("second", storage.root)
        assert all(result.reused for result in run_jobs(storage, "records", plan_records(storage, settings)))
        before = read_stage(storage, "records").counts.dropped["taken_down"]
        assert self.run(storage, record_id) == 0
        run_jobs(storage, "records", plan_records(storage, settings))
        assert read_stage(storage, "records").counts.dropped["taken_down"] == before + 1

    def test_a_list_that_settings_name_is_the_one_appended_to(self, grown: Grown, storage: Storage, tmp_path: Path) -> None:
        listed = tmp_path / "own.txt"
        listed.write_text("# mine\n" + "0" * 64)
        url = next(row["media_url"] for row in grown.second.samples().to_pylist())
        assert self.run(storage, url, "--set", f"ingest.takedown={listed}") == 0
        lines = listed.read_text().splitlines()
        assert lines[:2] == ["# mine", "0" * 64]
        assert lines[2].startswith(f"{url},")
        assert not storage.exists("takedown.txt")

    def test_other_images_of_the_same_photograph_are_stated_not_listed(
        self, grown: Grown, storage: Storage, capsys: pytest.CaptureFixture[str]
    ) -> None:
        row = next(row for row in grown.second.samples().to_pylist() if row["drop_reason"] == "duplicate_near")
        assert self.run(storage, row["drop_detail"]) == 0
        printed = capsys.readouterr().out
        assert "duplicates are not included and will be kept: " in printed
        assert row["record_id"] in printed
        assert read_withdrawals(storage, grown.settings_of("second").ingest).listing(row["record_id"]) == ""

    def test_what_is_none_of_the_three_lists_nothing_at_all(self, storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.run(storage, "0" * 64, "eol:12") == 2
        assert "'eol:12' is not a record id" in capsys.readouterr().err
        assert not storage.exists("takedown.txt")
        assert self.run(storage, "0" * 64) == 0
        assert "no match in this workspace; it will be rejected if it appears later" in capsys.readouterr().out


class TestHashes:
    def do(self, grown: Grown, storage: Storage, *hashes: str) -> list[PartitionResult]:
        return run_jobs(storage, "images", plan_images(storage, grown.settings_of("second", storage.root), withdrawn=frozenset(hashes)))

    def rows(self, storage: Storage, record_id: str) -> list[dict[str, Any]]:
        names = [output.name for output in read_stage(storage, "images").outputs]
        return [row for name in names for row in pq.read_table(storage.uri(name)).to_pylist() if row["record_id"] == record_id]

    @pytest.mark.parametrize("column", ["sha256", "original_sha256", "pixel_sha256"])
    def test_the_bytes_of_withdrawn_images_leave_the_workspace_and_come_back_with_the_hash(
        self, grown: Grown, storage: Storage, column: str
    ) -> None:
        record_id = next(row["record_id"] for row in grown.second.samples().to_pylist() if row["split"] == "train")
        [image] = self.rows(storage, record_id)
        files = [path for path in Path(storage.root, "images").iterdir() if image["image"] in path.read_bytes()]
        assert len(files) == 1
        results = self.do(grown, storage, image[column], "0" * 64)
        assert 1 <= sum(not result.reused for result in results) <= 2
        assert self.rows(storage, record_id) == []
        assert image["image"] not in files[0].read_bytes()
        index = int(files[0].stem.removeprefix("part-"))
        [outcome] = [row for row in read_outcomes(storage, index) if row["record_id"] == record_id]
        assert (outcome["status"], outcome["reason"], outcome["detail"]) == ("permanent", "taken_down", image[column])
        assert storage.exists(layout.outcomes_part(index))
        assert all(result.reused for result in self.do(grown, storage, image[column], "0" * 64))
        self.do(grown, storage)
        assert self.rows(storage, record_id) == [image]

    def test_the_next_release_is_made_without_it_and_the_earlier_one_still_has_it(self, grown: Grown, storage: Storage) -> None:
        row = next(row for row in grown.second.samples().to_pylist() if row["split"] == "train" and row["record_id"] not in grown.added)
        storage.write_bytes("takedown.txt", row["sha256"].encode())
        settings = grown.settings_of("second", storage.root)
        for stage, jobs in plan_stages(storage, settings):
            if stage.name == "images":
                jobs = plan_images(storage, settings, withdrawn=frozenset({row["sha256"]}))
            run_jobs(storage, stage.name, jobs)
        third = open_release(storage, release_version(storage, settings))
        assert third.version not in {grown.first.version, grown.second.version}
        assert row["record_id"] not in third.samples(["record_id"])["record_id"].to_pylist()
        assert verify_release(third.storage, deep=True).findings == ()
        found = trace_image(with_withdrawals(Scope(third, storage), settings.ingest), row["record_id"])
        assert (found.final.stage, found.final.reason) == ("images", "taken_down")
        assert set(found.step("releases").facts["in_releases"]) == {grown.first.version, grown.second.version}

    def test_trace_tells_the_hash_and_its_list(self, grown: Grown, storage: Storage) -> None:
        record_id = next(row["record_id"] for row in grown.second.samples().to_pylist() if row["split"] == "train")
        [image] = self.rows(storage, record_id)
        assert main(["withdraw", "--workspace", storage.root, image["sha256"]]) == 0
        settings = grown.settings_of("second", storage.root)
        self.do(grown, storage, *read_withdrawals(storage, settings.ingest).hashes)
        found = trace_image(with_withdrawals(Scope(None, storage), settings.ingest), record_id)
        assert (found.final.stage, found.final.reason, found.final.detail) == (
            "images",
            "taken_down",
            f"listed in {storage.uri('takedown.txt')}",
        )
        assert find_images(Scope(None, storage), image["sha256"]) == [record_id]
