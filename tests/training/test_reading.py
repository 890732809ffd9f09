"""Reading samples: the index on disk, copies of remote tars, and samples that cannot be read."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch

from bioclip.errors import ShardError, TrainingError
from bioclip.models.clip import import_open_clip
from bioclip.models.trained import find_model
from bioclip.releases import Release, open_release
from bioclip.settings import TrainingSettings
from bioclip.shards.index_building import index_split
from bioclip.shards.lineage_groups import group_by_lineage
from bioclip.shards.sample_ids import id_of, ids_of, name_of
from bioclip.storage import Storage
from bioclip.training.data import Batch, TrainingData
from bioclip.training.data.shard_reading import ShardCache
from bioclip.training.data.streams import open_shard_cache, open_streams
from bioclip.training.loop import train
from tests.training.killing_log import KilledError, KillingLog
from tests.training.sample_release import VERSION, write_release

MakeSettings = Callable[..., TrainingSettings]


@pytest.fixture
def own(tmp_path: Path) -> Release:
    """A release to be damaged."""
    return write_release(tmp_path / "workspace")


def make_data(release: Release, settings: TrainingSettings, rank: int = 0, world_size: int = 1) -> TrainingData:
    workspace = Storage(release.storage.root.rpartition("/releases/")[0])
    streams, _ = open_streams(settings, release, workspace)
    tokenizer = import_open_clip().SimpleTokenizer(context_length=40)
    cache = open_shard_cache(settings, workspace)
    return TrainingData(streams, settings, tokenizer, 32, rank, world_size, cache)


def remote(release: Release, name: str) -> Release:
    """A copy of the release in an object store."""
    store = Storage(f"memory://{name}")
    for file in release.storage.list():
        store.write_bytes(f"releases/{VERSION}/{file}", release.storage.read_bytes(file))
    return open_release(store, VERSION)


def same(one: Batch, other: Batch) -> bool:
    tensors = ((value, getattr(other, name)) for name, value in vars(one).items() if isinstance(value, torch.Tensor))
    return one.keys == other.keys and all(torch.equal(value, found) for value, found in tensors)


def damage(release: Release, position: int) -> str:
    """Overwrite the image of a sample; returns its id."""
    index = index_split(release, "train")
    row, shard = index.rows[position], int(index.shards_of(np.array([position]))[0])
    path = Path(release.storage.uri(index.shards[shard]))
    data = bytearray(path.read_bytes())
    start = int(row["start"]) + 512
    data[start : start + 400] = bytes(400)
    path.write_bytes(bytes(data))
    return index.name(position)


class TestTheIndex:
    def test_an_id_is_the_uuid_or_a_hash_and_columns_agree_with_single_keys(self) -> None:
        keys = ["3f2a0000-0000-5000-8000-00000000abcd", "ffffffff-ffff-ffff-ffff-ffffffffffff"]
        for chosen in (keys, [*keys, "000000001", "3F2A0000-0000-5000-8000-00000000ABCD", ""]):
            assert ids_of(chosen).tolist() == [id_of(key) for key in chosen]
        assert [name_of(*id_of(key)) for key in keys] == keys
        assert len({id_of(key) for key in (*keys, keys[0].upper(), "1", "2")}) == 5

    def test_it_is_written_once_and_mapped_by_later_runs(self, own: Release, tmp_path: Path) -> None:
        fresh = index_split(own, "train")
        written, mapped = (index_split(own, "train", tmp_path / "cache") for _ in range(2))
        for found in (written, mapped):
            assert found.mapped is not None
            assert found.rows.tolist() == fresh.rows.tolist()
            assert (found.members, found.lineages, found.num_bytes) == (fresh.members, fresh.lineages, fresh.num_bytes)
        (folder,) = (path for path in (tmp_path / "cache" / "indexes").iterdir() if path.is_dir())
        assert {path.name for path in folder.iterdir()} == {"rows.bin", "facts.json"}
        positions = np.arange(len(fresh)).repeat(2000)
        assert np.array_equal(mapped.take(positions), fresh.rows[positions]), "also after the pages were returned"

    def test_it_appears_whole_or_not_at_all(self, own: Release, tmp_path: Path) -> None:
        path = Path(own.storage.uri(own.shards("train")[1]))
        path.write_bytes(path.read_bytes()[:5000])
        with pytest.raises(ShardError):
            index_split(own, "train", tmp_path / "cache")
        assert not [path for path in (tmp_path / "cache" / "indexes").iterdir() if path.is_dir()]

    def test_the_groups_by_lineage_are_kept_beside_it(self, own: Release, tmp_path: Path) -> None:
        for index in (index_split(own, "train"), *(index_split(own, "train", tmp_path / "cache") for _ in range(2))):
            groups = group_by_lineage(index)
            assert sorted(groups.positions.tolist()) == list(range(len(index)))
            for lineage in range(len(index.lineages)):
                inside = groups.positions[groups.start[lineage] : groups.start[lineage + 1]]
                assert (index.rows["lineage"][inside] == lineage).all()


def _fetch(folder: str, address: str) -> int:
    cache = ShardCache(Path(folder), 1 << 20)
    release = open_release(Storage(address), VERSION)
    index = index_split(release, "train")
    for shard in range(len(index.shards)):
        assert cache.fetch(index, shard).read_bytes() == release.storage.read_bytes(index.shards[shard])
    return cache.num_requests


class TestCopiesOfTars:
    @pytest.mark.parametrize("order", ["sample", "block"])
    def test_batches_are_those_of_the_local_release_for_any_order_and_number_of_processes(
        self, own: Release, tmp_path: Path, tiny_settings: MakeSettings, order: str
    ) -> None:
        settings = tiny_settings(order=order, window_shards=2, cache_dir=str(tmp_path / order), num_loader_workers=2)
        local = list(make_data(own, settings).batches(0, 9))
        store = remote(own, f"copies-{order}")
        for world_size in (1, 2, 4):
            ranks = [make_data(store, settings, rank, world_size).batches(0, 9) for rank in range(world_size)]
            for whole, parts in zip(local, zip(*ranks, strict=True), strict=True):
                assert tuple(key for part in parts for key in part.keys) == whole.keys
                assert torch.equal(torch.cat([part.images_BCHW for part in parts]), whole.images_BCHW)
                assert torch.equal(torch.cat([part.taxon_B for part in parts]), whole.taxon_B)

    def test_a_tar_is_requested_once_and_its_samples_from_the_copy(self, own: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
        data = make_data(remote(own, "once"), tiny_settings(cache_dir=str(tmp_path / "c"), cache_images_mb=0))
        for step in range(12):
            data.batch(step)
        assert data.shard_cache is not None
        assert data.shard_cache.num_requests == len(data.streams[0].index.shards)
        assert data.readers[0].num_requests == 0
        plain = make_data(remote(own, "once"), tiny_settings(cache_shards_gb=0, cache_dir=str(tmp_path / "c"), cache_images_mb=0))
        assert same(plain.batch(3), data.batch(3))
        assert plain.readers[0].num_requests == 16

    def test_the_bound_holds_and_the_least_recently_used_goes_first(self, own: Release, tmp_path: Path) -> None:
        index = index_split(remote(own, "bound"), "train")
        sizes = [index.storage.num_bytes(name) for name in index.shards]
        cache = ShardCache(tmp_path / "copies", sizes[0] + max(sizes[1:]))
        first = cache.fetch(index, 0)
        second = cache.fetch(index, 1)
        cache.fetch(index, 0)
        third = cache.fetch(index, 2)
        assert (first.exists(), second.exists(), third.exists()) == (True, False, True)
        assert sum(path.stat().st_size for path in cache.folder.iterdir()) <= cache.max_bytes
        with pytest.raises(ShardError, match=r"raise training\.cache_shards_gb"):
            ShardCache(tmp_path / "copies", 1000).fetch(index, 3)

    def test_threads_that_want_one_tar_fetch_it_once(self, own: Release, tmp_path: Path) -> None:
        index, cache = index_split(remote(own, "threads"), "train"), ShardCache(tmp_path / "copies", 1 << 30)
        with ThreadPoolExecutor(8) as pool:
            paths = list(pool.map(lambda _: cache.fetch(index, 0), range(32)))
        assert len(set(paths)) == cache.num_requests == 1

    @pytest.mark.slow
    def test_processes_share_the_folder(self, own: Release, tmp_path: Path) -> None:
        address = f"file://{own.storage.root.rpartition('/releases/')[0]}"
        with get_context("spawn").Pool(2) as pool:
            requests = pool.starmap(_fetch, [(str(tmp_path / "shared"), address)] * 2)
        assert sum(requests) == len(own.shards("train"))

    def test_a_copy_that_differs_from_the_manifest_is_not_used(self, own: Release, tmp_path: Path) -> None:
        store = remote(own, "differs")
        index = index_split(store, "train")
        data = store.storage.read_bytes(index.shards[0])
        store.storage.write_bytes(index.shards[0], data[:600] + b"x" + data[601:])
        with pytest.raises(ShardError, match="differs from its digest in the manifest"):
            ShardCache(tmp_path / "copies", 1 << 30).fetch(index, 0)
        assert not [path for path in (tmp_path / "copies").iterdir() if path.suffix != ".lock"]


class TestUnreadableSamples:
    def test_a_damaged_sample_is_replaced_by_the_next_of_its_epoch_and_counted(
        self, own: Release, tmp_path: Path, tiny_settings: MakeSettings
    ) -> None:
        settings, log = tiny_settings(num_loader_workers=2), io.StringIO()
        expected = list(make_data(own, settings).batches(0, 8))
        lost = {damage(own, position) for position in (5, 30)}
        found = make_data(own, settings)
        found.unreadable.max_samples = 2
        for one, other in zip(found.batches(0, 8), expected, strict=True):
            kept = [key not in lost for key in other.keys]
            assert not lost & set(one.keys)
            assert [key for key, is_kept in zip(one.keys, kept, strict=True) if is_kept] == [key for key in other.keys if key not in lost]
        assert found.unreadable.reasons.keys() == lost
        info = train(settings, own, Storage(str(tmp_path / "models")), log).info
        assert info.unreadable_samples.keys() == lost
        assert all("cannot be decoded" in reason for reason in info.unreadable_samples.values())
        events = [json.loads(line) for line in log.getvalue().splitlines()]
        assert {event["sample"] for event in events if event.get("event") == "unreadable"} == lost

    def test_one_more_than_the_setting_ends_the_run_with_their_ids(self, own: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
        lost = [damage(own, position) for position in (5, 30)]
        with pytest.raises(TrainingError, match=r"2 samples cannot be read, more than training.max_unreadable_samples = 1") as raised:
            train(tiny_settings(max_unreadable_samples=1), own, Storage(str(tmp_path / "models")))
        assert all(name in str(raised.value) for name in lost)

    def test_a_tar_cut_short_after_it_was_indexed_counts_as_its_samples(
        self, own: Release, tmp_path: Path, tiny_settings: MakeSettings
    ) -> None:
        settings = tiny_settings(cache_dir=str(tmp_path / "cache"))
        make_data(own, settings)
        path = Path(own.storage.uri(own.shards("train")[0]))
        path.write_bytes(path.read_bytes()[:40_000])
        data = make_data(own, settings)
        data.unreadable.max_samples = 40
        keys = {key for step in range(4) for key in data.batch(step).keys}
        assert 0 < len(data.unreadable.reasons) < 20
        assert not keys & data.unreadable.reasons.keys()

    def test_a_killed_run_with_loader_threads_ends_as_a_straight_one(
        self, own: Release, tmp_path: Path, tiny_settings: MakeSettings
    ) -> None:
        lost = damage(own, 7)
        settings = tiny_settings(num_loader_workers=3, order="block", window_shards=2)
        straight, killed = Storage(str(tmp_path / "straight")), Storage(str(tmp_path / "killed"))
        info = train(settings, own, straight).info
        with pytest.raises(KilledError):
            train(settings, own, killed, KillingLog(7))
        assert train(settings, own, killed).info == info
        assert set(info.unreadable_samples) == {lost}
        for name in straight.list(info.folder):
            assert killed.read_bytes(name) == straight.read_bytes(name)
        assert find_model(killed, info.model_id) == info
        assert not [name for name in killed.list(info.folder) if "unreadable" in name]


def test_a_release_that_moved_is_indexed_again(own: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
    settings = tiny_settings(cache_dir=str(tmp_path / "cache"))
    first = make_data(own, settings).batch(0)
    shutil.copytree(tmp_path / "workspace", tmp_path / "moved")
    damage(own, 0)
    moved = open_release(Storage(str(tmp_path / "moved")), VERSION)
    assert same(make_data(moved, settings).batch(0), first)
