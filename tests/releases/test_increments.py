"""A release with a parent writes only new and changed samples, keeps the other shards, and equals a release built without one."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bioclip.errors import StorageError
from bioclip.releases.aliases import point_alias, point_latest
from bioclip.releases.locating import open_release
from bioclip.releases.manifest import Release, list_releases, workspace_name
from bioclip.schemas import SAMPLE_SCHEMA
from bioclip.selection.parent import NO_PARENT, Parent, read_parent
from bioclip.selection.shard_numbers import find_former, number_shards
from bioclip.selection.stage import plan_release
from bioclip.selection.texts import TextKey, text_key
from bioclip.settings import ShardSettings
from bioclip.shards.index import read_sample
from bioclip.shards.index_building import index_split
from bioclip.storage import Storage, open_workspace
from bioclip.verification.verify import verify_release
from tests.conftest import Curated
from tests.releases.conftest import SAMPLES_PER_SHARD, Grown, curate, digests_below
from tests.selection.rows import candidates_of

Members = dict[str, dict[str, bytes]]


def shards_of(release: Release) -> dict[str, str]:
    """Digest of every shard by its name in the workspace."""
    splits = release.manifest["splits"].values()
    return {workspace_name(release.version, shard["name"]): shard["sha256"] for split in splits for shard in split["shards"]}


def places(release: Release) -> dict[str, str]:
    """Shard of every sample by its name in the workspace."""
    rows = release.samples(["record_id", "shard"]).to_pylist()
    return {row["record_id"]: workspace_name(release.version, row["shard"]) for row in rows if row["shard"]}


def contents(release: Release, split: str) -> Members:
    """Members of every sample of a split."""
    found: Members = {}
    for shard in release.shards(split):
        with release.storage.reader(shard) as stream, tarfile.open(fileobj=stream) as archive:
            for member in archive:
                key, _, extension = member.name.partition(".")
                content = archive.extractfile(member)
                assert content is not None
                found.setdefault(key, {})[extension] = content.read()
    return found


def test_only_shards_that_lost_a_sample_are_written_again(grown: Grown) -> None:
    before, after = places(grown.first), places(grown.second)
    gone = before.keys() - after.keys()
    assert gone >= grown.withdrawn & before.keys() != set()
    touched = {before[key] for key in gone}
    kept = shards_of(grown.first).keys() & shards_of(grown.second).keys()
    assert kept == shards_of(grown.first).keys() - touched
    assert all(after[key] == shard for key, shard in before.items() if shard not in touched)
    assert len(kept) > len(touched)


def test_new_samples_share_new_shards_across_partitions(grown: Grown) -> None:
    after = places(grown.second)
    assert grown.added & after.keys()
    new = {after[key] for key in grown.added & after.keys()}
    assert all(shard.startswith(f"releases/{grown.second.version}/") for shard in new)
    assert len(new) < 8, "of eight partitions, each with some new samples"
    assert max(list(after.values()).count(shard) for shard in new) <= SAMPLES_PER_SHARD


def test_the_first_release_is_left_as_it_was(grown: Grown) -> None:
    assert digests_below(grown.first.storage) == grown.digests_of_first
    for name, sha256 in shards_of(grown.second).items():
        assert grown.storage.digest(name)[0] == sha256


def test_no_number_of_a_shard_is_used_twice_in_a_line(grown: Grown) -> None:
    names = shards_of(grown.first).keys() | shards_of(grown.second).keys()
    by_split = [name.split("/", 2)[2] for name in names]
    assert len(set(by_split)) == len(by_split)


def test_both_releases_are_sound_and_add_up(grown: Grown) -> None:
    for release in (grown.first, grown.second):
        assert verify_release(release.storage, deep=True).findings == ()
    counts = grown.second.manifest["counts"]
    assert counts["shards"]["written"] == counts["release"]["written"] > counts["shards"]["notes"]["samples_in_kept_shards"] > 0


def test_a_kept_shard_that_was_spoiled_is_found_from_the_release_that_uses_it(grown: Grown, tmp_path: Path) -> None:
    shutil.copytree(grown.storage.uri("releases"), tmp_path / "releases")
    storage = Storage(str(tmp_path / "releases" / grown.second.version))
    name = next(name for name in grown.second.shards("train") if name.startswith("../"))
    path = Path(storage.uri(name))
    data = path.read_bytes()
    path.write_bytes(data[:600] + bytes([data[600] ^ 1]) + data[601:])
    assert [(found.kind, found.name) for found in verify_release(storage, deep=True).findings] == [("digest_differs", name)]
    path.unlink()
    assert [(found.kind, found.name) for found in verify_release(storage).findings] == [("file_missing", name)]


def test_samples_are_those_of_a_release_made_alone(grown: Grown, tmp_path: Path) -> None:
    shutil.copytree(grown.storage.root, tmp_path / "workspace")
    alone, _ = curate(grown.settings_of("second", tmp_path / "workspace", release={"parent": ""}))
    assert alone.version != grown.second.version
    assert alone.parent == ("", "")
    for split in ("train", "val", "heldout"):
        assert contents(alone, split) == contents(grown.second, split)


def test_every_reader_finds_kept_shards(grown: Grown) -> None:
    index = index_split(grown.second, "val")
    wanted = contents(grown.second, "val")
    assert any(name.startswith("../") for name in index.shards)
    assert {index.keys[position]: index.read(position) for position in range(len(index))} == wanted
    for key in list(wanted)[::20]:
        assert read_sample(grown.second, key) == wanted[key]


@pytest.mark.slow
def test_the_same_increment_on_another_file_system_and_in_another_order_is_the_same(grown: Grown) -> None:
    remote = "memory://increments/workspace"
    curate(grown.settings_of("first", remote), seed=5)
    second, _ = curate(grown.settings_of("second", remote), seed=6)
    assert second.digest == grown.second.digest
    assert digests_below(Storage(remote), "releases") == digests_below(grown.storage, "releases")
    assert verify_release(second.storage, deep=True).findings == ()


def test_a_rerun_finds_its_own_release_and_an_older_state_its_older_one(grown: Grown, tmp_path: Path) -> None:
    shutil.copytree(grown.storage.root, tmp_path / "workspace")
    second, done = curate(grown.settings_of("second", tmp_path / "workspace"))
    assert second.digest == grown.second.digest
    assert all(result.reused for results in done.values() for result in results)
    first, done = curate(grown.settings_of("first", tmp_path / "workspace"))
    assert first.digest == grown.first.digest
    assert all(result.reused for stage in ("shards", "publish") for result in done[stage])
    assert len(list_releases(second.storage.sub("../.."))) == 2


class TestParents:
    @pytest.fixture
    def workspace(self, grown: Grown, tmp_path: Path) -> Path:
        shutil.copytree(grown.storage.root, tmp_path / "workspace")
        return tmp_path / "workspace"

    def parent_of(self, grown: Grown, workspace: Path, **sections: dict[str, object]) -> str:
        settings = grown.settings_of("second", workspace, **sections)
        return str(plan_release(open_workspace(settings.workspace), settings)[0].arguments["parent"].version)

    def test_settings_that_split_otherwise_begin_anew(self, grown: Grown, workspace: Path) -> None:
        assert self.parent_of(grown, workspace) == grown.first.version
        assert self.parent_of(grown, workspace, release={"seed": 18}) == ""
        assert self.parent_of(grown, workspace, release={"name": "another"}) == ""
        assert self.parent_of(grown, workspace, release={"min_rank": "genus"}) == grown.second.version

    def test_a_version_or_an_alias_is_taken_as_it_is(self, grown: Grown, workspace: Path) -> None:
        point_alias(Storage(str(workspace)), "stable", grown.first.version)
        assert self.parent_of(grown, workspace, release={"seed": 18, "parent": "stable"}) == grown.first.version
        assert self.parent_of(grown, workspace, release={"parent": ""}) == ""
        with pytest.raises(StorageError, match=r"release 'stabel' is not in .*; available: .*stable"):
            self.parent_of(grown, workspace, release={"parent": "stabel"})

    def test_the_alias_latest_may_be_turned_back(self, grown: Grown, workspace: Path) -> None:
        point_latest(Storage(str(workspace)), grown.first.version)
        assert self.parent_of(grown, workspace, release={"min_rank": "genus"}) == grown.first.version

    def test_other_pictures_are_all_written_anew_but_stay_in_their_splits(self, grown: Grown, workspace: Path) -> None:
        settings = grown.settings_of("second", workspace, shards={"image_px": 96}, release={"parent": "latest"})
        smaller, _ = curate(settings)
        assert smaller.parent == (grown.second.version, grown.second.digest)
        assert not any(name.startswith("../") for split in smaller.manifest["splits"] for name in smaller.shards(split))
        assert verify_release(smaller.storage, deep=True).findings == ()

    def test_a_shard_of_the_parent_that_is_missing_stops_the_release(self, grown: Grown, workspace: Path) -> None:
        settings = grown.settings_of("second", workspace, release={"min_rank": "genus"})
        second = open_release(Storage(str(workspace)), grown.second.version)
        for name in second.shards("train"):
            Path(second.storage.uri(name)).unlink()
        with pytest.raises(StorageError, match=r"is missing or has another size than \d+ bytes; restore it, or start"):
            curate(settings)

    def test_the_stage_says_whom_it_continues(self, grown: Grown, curated: Curated) -> None:
        assert read_parent(grown.storage).version == grown.first.version
        assert read_parent(curated.storage) == NO_PARENT


class TestPlaces:
    """`number_shards` on the sample's own rows, changed by hand."""

    def rows(self, release: Release) -> list[dict[str, Any]]:
        return [row | {"shard": ""} for row in release.samples().to_pylist()]

    def place(self, release: Release, rows: list[dict[str, Any]], changed: set[TextKey] | None = None) -> dict[str, int]:
        """Give the rows their shards; they are looked at in two parts."""
        candidates, parent, middle = candidates_of(rows), Parent(release, is_reusable=True), len(rows) // 2
        table = pa.Table.from_pylist(rows, schema=SAMPLE_SCHEMA)
        parts = [
            (start, stop, {name: table[name].slice(start, stop - start) for name in table.column_names})
            for start, stop in ((0, middle), (middle, len(rows)))
        ]
        former = find_former(candidates, parts, parent, changed or set())
        settings = ShardSettings(samples_per_shard=SAMPLES_PER_SHARD)
        shards, notes = number_shards(candidates, settings, 8, parent, former)
        for row, shard in zip(rows, shards.to_pylist(), strict=True):
            row["shard"] = shard
        return notes

    def test_a_changed_text_rewrites_the_shards_of_its_taxon_alone(self, grown: Grown) -> None:
        rows = self.rows(grown.first)
        taxon = text_key(next(row for row in rows if row["split"] == "train"))
        notes = self.place(grown.first, rows, {taxon})
        former = places(grown.first)
        touched = {former[row["record_id"]] for row in rows if row["split"] and text_key(row) == taxon}
        assert notes["shards_given_up"] == len(touched) < notes["shards_kept"]
        assert notes["samples_rewritten"] == sum(former.get(row["record_id"]) in touched for row in rows)

    def test_nothing_changed_means_nothing_written(self, grown: Grown) -> None:
        rows = self.rows(grown.second)
        notes = self.place(grown.second, rows)
        assert notes["samples_rewritten"] == notes["samples_added"] == notes["shards_given_up"] == 0
        assert {str(row["shard"]) for row in rows if str(row["shard"]).startswith(f"../{grown.first.version}/")}

    @pytest.mark.parametrize("column", ["species", "common_name", "license", "rights_holder", "sha256", "width"])
    def test_a_changed_label_licence_or_picture_rewrites_its_shard_alone(self, grown: Grown, column: str) -> None:
        rows = self.rows(grown.first)
        changed = next(row for row in rows if row["split"] == "train")
        changed[column] = 1 if column == "width" else "other"
        notes = self.place(grown.first, rows)
        assert notes["shards_given_up"] == 1
        assert notes["samples_added"] == 0
        former = places(grown.first)
        shared = {row["record_id"] for row in rows if former.get(str(row["record_id"])) == former[str(changed["record_id"])]}
        assert {row["record_id"] for row in rows if row["shard"] == changed["shard"]} == shared

    @pytest.mark.parametrize("column", ["latitude", "event_date", "verbatim_name"])
    def test_what_no_shard_holds_rewrites_nothing(self, grown: Grown, column: str) -> None:
        rows = self.rows(grown.first)
        for row in rows:
            row[column] = 1.5 if column == "latitude" else "other"
        assert self.place(grown.first, rows)["samples_rewritten"] == 0

    def test_a_column_that_is_added_later_counts_as_content(self) -> None:
        from bioclip.selection.parent import CONTENT
        from bioclip.shards.members import SAMPLE_COLUMNS

        assert set(SAMPLE_COLUMNS) <= set(CONTENT)
        assert {"split", "width", "height"} <= set(CONTENT) < set(SAMPLE_SCHEMA.names)
