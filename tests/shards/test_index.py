"""Any sample of a release is one range request away, and the index says nothing that the tar does not."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from bioclip import layout
from bioclip.digests import digest_bytes, readable_json
from bioclip.errors import StorageError
from bioclip.releases.manifest import Release
from bioclip.schemas import SAMPLE_SCHEMA, SHARD_INDEX_SCHEMA
from bioclip.shards.index import find_sample, read_sample
from bioclip.shards.members import MEMBER_EXTENSIONS, sample_members
from bioclip.storage import Storage
from bioclip.verification.verify import verify_release
from tests.conftest import Curated


def shards_of(release: Release) -> list[str]:
    return [name for split in release.manifest["splits"] for name in release.shards(split)]


@pytest.fixture
def copy(curated: Curated, tmp_path: Path) -> Release:
    """A release of one's own."""
    shutil.copytree(curated.release.storage.root, tmp_path / "release")
    return Release(curated.release.version, curated.release.digest, curated.release.manifest, Storage(str(tmp_path / "release")))


def test_the_index_of_every_shard_says_where_tarfile_finds_each_member(curated: Curated) -> None:
    release = curated.release
    for shard in shards_of(release):
        table = pq.read_table(release.storage.uri(layout.shard_index(shard)))
        assert table.schema.equals(SHARD_INDEX_SCHEMA)
        assert set(table["shard"].to_pylist()) == {shard}
        with release.storage.reader(shard) as stream, tarfile.open(fileobj=stream) as archive:
            found = [(member.name, member.offset_data, member.size) for member in archive]
        said = [(f"{row['record_id']}.{row['member']}", row["offset"], row["num_bytes"]) for row in table.to_pylist()]
        assert said == found


def test_every_sample_is_read_by_its_id_alone(curated: Curated) -> None:
    release = curated.release
    samples = [row for row in release.samples(["record_id", "shard", "species", "split"]).to_pylist() if row["split"]]
    for row in samples[::40]:
        members = read_sample(release, row["record_id"])
        assert tuple(members) == MEMBER_EXTENSIONS
        assert json.loads(members["json"])["species"] == row["species"]
        with release.storage.reader(row["shard"]) as stream, tarfile.open(fileobj=stream) as archive:
            for name, content in members.items():
                member = archive.extractfile(f"{row['record_id']}.{name}")
                assert member is not None
                assert member.read() == content


def test_one_request_reads_a_sample_and_a_smaller_one_some_members(curated: Curated, monkeypatch: pytest.MonkeyPatch) -> None:
    release = curated.release
    record_id = next(row["record_id"] for row in release.samples().to_pylist() if row["split"] == "val")
    ranges: list[int] = []
    kind = type(release.storage.filesystem)
    original = kind.cat_file

    def counted(self: Any, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        assert start is not None
        assert end is not None
        ranges.append(end - start)
        return bytes(original(self, path, start, end, **options))

    monkeypatch.setattr(kind, "cat_file", counted)
    whole = read_sample(release, record_id)
    texts = read_sample(release, record_id, ("txt", "sci.txt"))
    assert texts == {"txt": whole["txt"], "sci.txt": whole["sci.txt"]}
    assert len(ranges) == 2
    assert ranges[0] == sum(512 + -(-len(content) // 512) * 512 for content in whole.values()) - -len(whole["txt"]) % 512
    assert ranges[1] < 10_240 < ranges[0]


def test_a_release_on_a_remote_file_system_is_read_in_the_same_way(curated: Curated) -> None:
    release = curated.release
    remote = Release(release.version, release.digest, release.manifest, Storage("memory://bucket/release"))
    record_id = next(row["record_id"] for row in release.samples().to_pylist() if row["split"] == "heldout")
    shard = find_sample(release, record_id)["shard"][0].as_py()
    for name in ("samples.parquet", shard, layout.shard_index(shard)):
        remote.storage.write_bytes(name, release.storage.read_bytes(name))
    assert read_sample(remote, record_id) == read_sample(release, record_id)


def test_what_is_in_no_shard_is_refused_with_the_reason(curated: Curated) -> None:
    dropped = next(row for row in curated.release.samples().to_pylist() if row["drop_reason"] == "not_in_backbone")
    with pytest.raises(StorageError, match=r"no shard of release \w+ holds .*: it was dropped: not_in_backbone"):
        read_sample(curated.release, dropped["record_id"])
    with pytest.raises(StorageError, match=r"'nobody': samples\.parquet does not list it"):
        read_sample(curated.release, "nobody")


def test_a_member_that_a_sample_lacks_is_named_beside_those_it_has(curated: Curated) -> None:
    record_id = next(row["record_id"] for row in curated.release.samples().to_pylist() if row["split"])
    with pytest.raises(StorageError, match=r"has no member png; it has jpg, json, scientific_name\.txt, "):
        read_sample(curated.release, record_id, ("png",))


def test_an_index_of_another_tar_is_noticed(copy: Release) -> None:
    first, second = (Path(copy.storage.uri(name)) for name in copy.shards("train")[:2])
    first.write_bytes(second.read_bytes())
    record_id = next(row["record_id"] for row in copy.samples().to_pylist() if row["shard"] == copy.shards("train")[0])
    with pytest.raises(StorageError, match=rf"shard-00000.tar' holds no {record_id}\.\S+ where its index says"):
        read_sample(copy, record_id)


def test_an_index_that_lacks_a_sample_is_named(copy: Release) -> None:
    first, second = (layout.shard_index(name) for name in copy.shards("train")[:2])
    shutil.copy(copy.storage.uri(second), copy.storage.uri(first))
    record_id = next(row["record_id"] for row in copy.samples().to_pylist() if row["shard"] == copy.shards("train")[0])
    with pytest.raises(StorageError, match=rf"shard-00000\.index\.parquet' lacks '{record_id}', which samples.parquet puts in"):
        read_sample(copy, record_id)


def test_a_shard_cut_short_is_noticed(copy: Release) -> None:
    shard = copy.shards("train")[0]
    record_id = [row["record_id"] for row in copy.samples().to_pylist() if row["shard"] == shard][-1]
    path = Path(copy.storage.uri(shard))
    path.write_bytes(path.read_bytes()[: find_sample(copy, record_id)["offset"][-1].as_py()])
    with pytest.raises(StorageError, match=r"holds no \S+\.txt where its index says"):
        read_sample(copy, record_id)
    path.unlink()
    with pytest.raises(StorageError, match=r"shard-00000\.tar' does not exist"):
        read_sample(copy, record_id)


def test_verify_watches_over_the_indexes_and_the_lists(copy: Release) -> None:
    names = [layout.shard_index(copy.shards("train")[0]), "shards/train/shardindex.json", "shards/val/sizes.json"]
    for name in names:
        path = Path(copy.storage.uri(name))
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))
    assert {(finding.kind, finding.name) for finding in verify_release(copy.storage, deep=True).findings} == {
        ("digest_differs", name) for name in names
    }


def test_an_index_that_lies_is_seen_even_where_the_manifest_was_made_to_fit(copy: Release) -> None:
    name = layout.shard_index(copy.shards("val")[0])
    path = Path(copy.storage.uri(name))
    table = pq.read_table(path)
    moved = table.set_column(3, SHARD_INDEX_SCHEMA.field("offset"), pc.add(table["offset"], 1))
    for spoiled, kind in (
        (moved, "index_differs"),
        (table.slice(1), "index_differs"),
        (table.drop_columns(["offset"]), "table_unreadable"),
    ):
        pq.write_table(spoiled, path)
        sha256, num_bytes = copy.storage.digest(name)
        files = {**copy.manifest["files"], name: {"sha256": sha256, "num_bytes": num_bytes}}
        data = readable_json({**copy.manifest, "files": files})
        copy.storage.write_bytes("manifest.json", data)
        copy.storage.write_bytes(layout.SEAL, f"{digest_bytes(data)}  manifest.json\n".encode())
        found = {(finding.kind, finding.name) for finding in verify_release(copy.storage, deep=True).findings}
        assert found == {(kind, name), ("text_differs", "croissant.json")}
        assert verify_release(copy.storage).findings == ()


def test_the_lists_of_a_split_say_what_the_manifest_says(curated: Curated) -> None:
    for split, values in curated.release.manifest["splits"].items():
        folder = f"shards/{split}"
        wids = json.loads(curated.release.storage.read_bytes(f"{folder}/shardindex.json"))
        sizes = json.loads(curated.release.storage.read_bytes(f"{folder}/sizes.json"))
        stated = [(shard["name"], shard["num_samples"], shard["num_bytes"]) for shard in values["shards"]]
        assert [(f"{folder}/{row['url']}", row["nsamples"], row["filesize"]) for row in wids["shardlist"]] == stated
        assert {f"{folder}/{name}": number for name, number in sizes.items()} == {name: number for name, number, _ in stated}


def test_member_txt_repeats_the_text_that_the_settings_name(curated: Curated) -> None:
    sample = {**dict.fromkeys(SAMPLE_SCHEMA.names, ""), "species": "Apis mellifera", "genus": "Apis", "common_name": "honey bee"}
    for caption, text in (("sci", "a photo of Apis mellifera."), ("com", "a photo of honey bee.")):
        members = dict(sample_members(sample, b"", caption))
        assert members["txt"] == members[f"{caption}.txt"] == text.encode()
    record_id = next(row["record_id"] for row in curated.release.samples().to_pylist() if row["split"])
    members = read_sample(curated.release, record_id)
    assert members["txt"] == members["taxon_com.txt"]
