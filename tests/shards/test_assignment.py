"""What a job of the stage `shards` is and which key it has follows from its samples, not from how their table is cut."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bioclip import layout, parquet
from bioclip.digests import digest_value
from bioclip.partitions import run_partition, write_stage
from bioclip.publishing.stage import plan_publish
from bioclip.records import partition_of
from bioclip.releases.locating import open_release
from bioclip.settings import PipelineSettings
from bioclip.shards.members import MEMBER_EXTENSIONS, SAMPLE_COLUMNS
from bioclip.shards.plan import RowsDigest, ShardPlan, read_shard_plan, read_shard_ranges
from bioclip.shards.stage import plan_shards
from bioclip.storage import Storage
from bioclip.verification import leaks
from bioclip.verification.verify import verify_release
from tests.conftest import Curated

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def rows(curated: Curated) -> Rows:
    """The samples of the stage `release`."""
    found: Rows = pq.read_table(curated.storage.uri(layout.in_splits(layout.SAMPLES))).to_pylist()
    return found


def write(folder: Path, curated: Curated, rows: Rows, row_group_rows: int = 10_000) -> Storage:
    """A folder with these samples."""
    schema = pq.read_schema(curated.storage.uri(layout.in_splits(layout.SAMPLES)))
    (folder / layout.in_splits(layout.SAMPLES)).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / layout.in_splits(layout.SAMPLES), row_group_size=row_group_rows)
    return Storage(str(folder))


def assign(storage: Storage, curated: Curated) -> ShardPlan:
    return read_shard_plan(storage, layout.in_splits(layout.SAMPLES), curated.settings.ingest.num_partitions, None)


class TestDigests:
    def test_the_cut_of_the_table_has_no_part_in_them(
        self, curated: Curated, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = assign(curated.storage, curated)
        for row_group_rows, batch_rows in ((1, 65_536), (13, 5), (100_000, 17)):
            monkeypatch.setattr(parquet, "BATCH_ROWS", batch_rows)
            assert assign(write(tmp_path, curated, rows, row_group_rows), curated) == expected

    def test_they_are_of_every_value_that_comes_into_a_tar(self, curated: Curated, rows: Rows, tmp_path: Path) -> None:
        before = assign(write(tmp_path, curated, rows), curated)
        victim = next(index for index, row in enumerate(rows) if row["split"])
        home = next(place for place, group in enumerate(before.groups) if rows[victim]["shard"] in group.names)
        for column in set(SAMPLE_COLUMNS) - {"record_id"}:
            changed = [dict(row) for row in rows]
            changed[victim][column] = f"{changed[victim][column]}x"
            after = assign(write(tmp_path, curated, changed), curated)
            assert [one.digest == two.digest for one, two in zip(before.groups, after.groups, strict=True)] == [
                place != home for place in range(len(before.groups))
            ], column

    def test_what_no_tar_holds_does_not_change_them(self, curated: Curated, rows: Rows, tmp_path: Path) -> None:
        changed = [row | {"latitude": 1.5, "event_date": "2020-02-02", "drop_detail": "other"} for row in rows]
        assert assign(write(tmp_path, curated, changed), curated) == assign(curated.storage, curated)

    def test_a_character_that_moves_to_the_next_value_changes_them(self) -> None:
        digests = set()
        for values in (["ab", "c"], ["a", "bc"], ["abc", ""], ["", "abc"]):
            digest = RowsDigest(("text",))
            digest.update(pa.table({"text": values}))
            digests.add(digest.hexdigest())
        assert len(digests) == 4

    def test_slices_and_absent_values_count_as_what_they_say(self) -> None:
        text = pa.array(["left out", "one", None, "", "three"])
        sliced, plain = RowsDigest(("text",)), RowsDigest(("text",))
        sliced.update(pa.table({"text": text}).slice(1, 2))
        sliced.update(pa.table({"text": text}).slice(3))
        plain.update(pa.table({"text": pa.array(["one", "", "", "three"], pa.large_string())}))
        lengths = hashlib.sha256(b"".join(len(value).to_bytes(4, "little") for value in ("one", "", "", "three"))).hexdigest()
        assert sliced.hexdigest() == plain.hexdigest() == digest_value([["text", lengths, hashlib.sha256(b"onethree").hexdigest()]])


class TestGroups:
    def test_each_shard_is_in_one_group_of_the_partitions_that_its_samples_lie_in(self, curated: Curated, rows: Rows) -> None:
        found = assign(curated.storage, curated)
        ids = defaultdict(list)
        for row in rows:
            if row["split"]:
                ids[row["shard"]].append(row["record_id"])
        assert sorted(name for group in found.groups for name in group.names) == sorted(ids)
        for group in found.groups:
            for name in group.names:
                ends = (partition_of(key, curated.settings.ingest.num_partitions) for key in (ids[name][0], ids[name][-1]))
                assert tuple(ends) == group.partitions

    def test_kept_shards_are_counted_and_not_written(self, curated: Curated, rows: Rows, tmp_path: Path) -> None:
        kept = [row | {"shard": f"../0123456789ab/{row['shard']}" if "/val/" in row["shard"] else row["shard"]} for row in rows]
        found = assign(write(tmp_path, curated, kept), curated)
        assert sum(found.kept.values()) == sum(row["split"] == "val" for row in rows)
        assert not [name for group in found.groups for name in group.names if "/val/" in name]
        moved = [row | {"shard": row["shard"].replace("0123456789ab", "ba9876543210")} for row in kept]
        assert assign(write(tmp_path, curated, moved), curated).kept_digest != found.kept_digest

    def test_ranges_tell_first_last_and_number_of_each_shard(self, curated: Curated, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(parquet, "BATCH_ROWS", 11)
        for name, found in read_shard_ranges(curated.storage, layout.in_splits(layout.SAMPLES)).items():
            ids = [row["record_id"] for row in rows if row["shard"] == name]
            assert (found.first, found.last, found.num_samples) == (ids[0], ids[-1], len(ids))

    def test_a_table_without_samples_gives_no_group(self, curated: Curated, rows: Rows, tmp_path: Path) -> None:
        for none in ([], [row | {"split": "", "shard": "", "drop_reason": "taken_down"} for row in rows]):
            assert assign(write(tmp_path, curated, none), curated) == ShardPlan((), {}, "")


@pytest.fixture
def own(curated: Curated, tmp_path: Path) -> tuple[Path, PipelineSettings]:
    """A workspace of one's own, and its settings."""
    folder = tmp_path / "workspace"
    shutil.copytree(curated.storage.root, folder, ignore=shutil.ignore_patterns("releases"))
    workspace = curated.settings.workspace.model_copy(update={"uri": str(folder)})
    return folder, curated.settings.model_copy(update={"workspace": workspace})


def numbered(rows: Rows, size: int) -> Rows:
    """Samples in shards of `size` through each split, across partitions."""
    seen: dict[str, int] = defaultdict(int)
    result = []
    for row in rows:
        number = seen[row["split"]] // size
        seen[row["split"]] += 1
        result.append(row | {"shard": f"shards/{row['split']}/shard-{number:05d}.tar" if row["split"] else ""})
    return result


def write_shards(storage: Storage, settings: PipelineSettings) -> list[str]:
    """The stage `shards`; returns the names of its tars."""
    manifests = [run_partition(job).manifest for job in plan_shards(storage, settings)]
    return sorted(output.name for output in write_stage(storage, "shards", manifests).outputs if output.name.endswith(".tar"))


def test_shards_that_span_partitions_hold_their_samples_in_order(
    curated: Curated, rows: Rows, own: tuple[Path, PipelineSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, settings = own
    moved = numbered(rows, 37)
    storage = write(folder, curated, moved, row_group_rows=10)
    tars = write_shards(storage, settings)
    assert any(job.name.startswith("parts-") for job in plan_shards(storage, settings))
    for name in tars:
        shard = name.split("/", 2)[2]
        wanted = [f"{row['record_id']}.{extension}" for row in moved if row["shard"] == shard for extension in MEMBER_EXTENSIONS]
        with tarfile.open(folder / name) as archive:
            assert archive.getnames() == wanted
    [manifest] = [run_partition(job).manifest for job in plan_publish(storage, settings)]
    write_stage(storage, "publish", [manifest])
    version = next(output.name.split("/")[1] for output in manifest.outputs if output.name.endswith("/manifest.json"))
    monkeypatch.setattr(parquet, "BATCH_ROWS", 23)
    monkeypatch.setattr(leaks, "_GATE_ROWS", 50)
    assert verify_release(open_release(storage, version).storage, deep=True).findings == ()
    stated = json.loads((folder / f"releases/{version}/manifest.json").read_bytes())["splits"]
    assert {split: values["num_samples"] for split, values in stated.items()} == {
        split: sum(row["split"] == split for row in rows) for split in stated
    }


def test_a_partition_without_samples_has_no_job_and_the_others_are_as_they_were(
    curated: Curated, rows: Rows, own: tuple[Path, PipelineSettings]
) -> None:
    folder, settings = own
    num_partitions = settings.ingest.num_partitions
    before = {job.name: job for job in plan_shards(Storage(str(folder)), settings)}
    empty = [
        row | {"split": "", "shard": "", "drop_reason": "taken_down"} if partition_of(row["record_id"], num_partitions) == 1 else row
        for row in rows
    ]
    after = {job.name: job for job in plan_shards(write(folder, curated, empty, row_group_rows=9), settings)}
    assert before.keys() - after.keys() == {"part-00001"}
    assert all(job.key == before[name].key for name, job in after.items())


def test_leaks_are_found_in_every_slice_of_training(curated: Curated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "release"
    shutil.copytree(curated.release.storage.root, folder)
    prints = pq.read_table(folder / "fingerprints.parquet")
    splits, pixels = prints["split"].to_pylist(), prints["pixel_sha256"].to_pylist()
    trained = [place for place, split in enumerate(splits) if split == "train"]
    leaking = [trained[0], trained[len(trained) // 2], trained[-1]]
    for place in leaking:
        pixels[place] = pixels[splits.index("val")]
    place = prints.schema.get_field_index("pixel_sha256")
    pq.write_table(prints.set_column(place, prints.schema.field(place), pa.array(pixels)), folder / "fingerprints.parquet")
    manifest = json.loads((folder / "manifest.json").read_bytes())
    tables = [list(leaks.check_gate(Storage(str(folder)), manifest))]
    monkeypatch.setattr(leaks, "_GATE_ROWS", 20)
    monkeypatch.setattr(parquet, "BATCH_ROWS", 8)
    tables.append(list(leaks.check_gate(Storage(str(folder)), manifest)))
    assert tables[0] == tables[1]
    assert [found.detail.split(" ")[0] for found in tables[0]] == [prints["record_id"][place].as_py() for place in leaking]
