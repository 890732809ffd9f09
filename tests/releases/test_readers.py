"""Other tools' loaders read a release with shards in two folders."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import webdataset

from bioclip.models.torchvision_compat import allow_cpu_torch
from bioclip.releases.manifest import Release
from tests.releases.conftest import Grown

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::DeprecationWarning"
)


def keys_of(release: Release, split: str) -> list[str]:
    rows = release.samples(["record_id", "split"]).to_pylist()
    return [row["record_id"] for row in rows if row["split"] == split]


def test_webdataset_reads_the_addresses_of_all_shards(grown: Grown) -> None:
    urls = [grown.second.storage.uri(name) for name in grown.second.shards("train")]
    assert len({Path(url).parent for url in urls}) == 2
    found = [sample["__key__"] for sample in webdataset.WebDataset(urls, shardshuffle=False)]
    assert sorted(found) == keys_of(grown.second, "train")
    gc.collect()  # webdataset leaves its tars to the collector, which must not complain in a later test


def test_wids_finds_the_shards_of_both_folders_by_the_list(grown: Grown, tmp_path: Path) -> None:
    import wids

    list_path = grown.second.storage.uri("shards/train/shardindex.json")
    dataset = wids.ShardListDataset(list_path, cache_dir=str(tmp_path), keep=True)
    found = [dataset[position]["__key__"] for position in range(len(dataset))]
    assert sorted(found) == keys_of(grown.second, "train")
    gc.collect()


def test_open_clip_counts_the_samples_of_all_shards_by_the_list(grown: Grown) -> None:
    allow_cpu_torch()
    import open_clip_train.data as data

    own_first = sorted(grown.second.shards("train"), key=lambda name: name.startswith("../"))
    joined = "::".join(grown.second.storage.uri(name) for name in own_first)
    num_samples, num_shards = data.get_dataset_size(joined)
    assert num_samples == grown.second.num_samples("train")
    assert num_shards == len(own_first)
