from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from bioclip.errors import ShardError
from bioclip.releases import Release, open_release
from bioclip.shards.index_building import index_split
from bioclip.shards.sample_index import texts_of
from bioclip.storage import Storage
from tests.training.sample_release import VERSION


def _shard(release: Release, number: int = 0) -> Path:
    return Path(release.storage.uri(release.shards("train")[number]))


def test_every_sample_is_read_as_tarfile_reads_it(release: Release) -> None:
    index = index_split(release, "train")
    expected: dict[str, dict[str, bytes]] = {}
    for number in range(len(release.shards("train"))):
        with tarfile.open(_shard(release, number)) as tar:
            for entry in tar:
                key, _, member = entry.name.partition(".")
                stream = tar.extractfile(entry)
                assert stream is not None
                expected.setdefault(key, {})[member] = stream.read()
    assert {key: index.read(position) for position, key in enumerate(index.keys)} == expected
    assert len(index) == release.num_samples("train") == len(set(index.keys))


def test_samples_are_read_by_range_from_an_object_store(release: Release) -> None:
    store = Storage("memory://workspace")
    for name in release.storage.list():
        store.write_bytes(f"releases/{VERSION}/{name}", release.storage.read_bytes(name))
    local, remote = (index_split(opened, "train") for opened in (release, open_release(store, VERSION)))
    assert local.keys == remote.keys
    assert all(local.read(position) == remote.read(position) for position in (0, 19, 20, 62))


def test_a_sample_carries_the_ten_texts(release: Release) -> None:
    texts = texts_of(index_split(release, "val").read(0))
    assert len(texts) == 10
    assert texts["taxon"] == f"a photo of {texts['taxonomic_name']}."


@pytest.mark.parametrize("num_bytes_lost", [1, 600, 9_000])
def test_a_shard_that_was_cut_short_is_named(workspace: Path, num_bytes_lost: int) -> None:
    release = open_release(Storage(str(workspace)), VERSION)
    data = _shard(release).read_bytes().rstrip(b"\0")
    _shard(release).write_bytes(data[:-num_bytes_lost])
    with pytest.raises(ShardError, match=r"shard-00000.tar.* cut short"):
        index_split(release, "train")


def test_a_shard_with_other_samples_than_released_is_named(workspace: Path) -> None:
    release = open_release(Storage(str(workspace)), VERSION)
    _shard(release, 1).write_bytes(_shard(release, 3).read_bytes())
    with pytest.raises(ShardError, match=r"holds 3 samples, its manifest says 20"):
        index_split(release, "train")


def test_a_shard_that_is_no_tar_of_plain_files_is_refused(workspace: Path) -> None:
    release = open_release(Storage(str(workspace)), VERSION)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("a.jpg")
        entry.type, entry.linkname = tarfile.SYMTYPE, "b.jpg"
        tar.addfile(entry)
    _shard(release).write_bytes(buffer.getvalue())
    with pytest.raises(ShardError, match="tar entry of type b'2'"):
        index_split(release, "train")
    _shard(release).write_bytes(b"no tar at all " * 100)
    with pytest.raises(ShardError, match="shard-00000"):
        index_split(release, "train")
