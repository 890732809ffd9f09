"""Others' loaders read a release's shards as they are, and find every sample of a split once with its own caption."""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import webdataset

from bioclip.captions import TEXT_MEMBERS, captions
from bioclip.models.torchvision_compat import allow_cpu_torch
from bioclip.records import RANKS
from bioclip.releases.manifest import Release
from bioclip.shards.members import MEMBER_EXTENSIONS
from tests.conftest import Curated

pytestmark = pytest.mark.filterwarnings(
    # third-party code: files closed by the garbage collector, old syntax, a loader that pins memory without a GPU
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::DeprecationWarning",
    "ignore::UserWarning:torch",
)
BATCH = 16
BIOCLIP_TYPES = ("sci", "com", "taxon", "sci_com", "taxon_com")
"""What BioCLIP's training draws from with --text_type random."""


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """These libraries leave their tars to the collector, which must not complain in a later test."""
    yield
    gc.collect()


def braces(release: Release, split: str) -> str:
    """A split's shards as one pattern, the way that they are given on a command line."""
    names = release.shards(split)
    assert names == [f"shards/{split}/shard-{index:05d}.tar" for index in range(len(names))]
    return release.storage.uri(f"shards/{split}/shard-{{00000..{len(names) - 1:05d}}}.tar")


def expected(release: Release, split: str) -> dict[str, dict[str, Any]]:
    """Row and captions of every sample of a split, by key."""
    rows = [row for row in release.samples().to_pylist() if row["split"] == split]
    return {row["record_id"]: {"row": row, "texts": captions({rank: row[rank] for rank in RANKS}, row["common_name"])} for row in rows}


@pytest.fixture(scope="module")
def open_clip_data() -> Any:
    """open_clip's own training data module."""
    allow_cpu_torch()
    import open_clip_train.data

    return open_clip_train.data


def open_clip_arguments(release: Release) -> argparse.Namespace:
    """What open_clip's command line makes of these arguments; the number of samples is not among them."""
    from open_clip_train.params import parse_args

    train, val = (braces(release, split) for split in ("train", "val"))
    arguments = ["--dataset-type", "webdataset", "--train-data", train, "--val-data", val, "--batch-size", str(BATCH), "--workers", "1"]
    parsed = parse_args(arguments)
    parsed.distributed, parsed.world_size, parsed.rank = False, 1, 0
    return argparse.Namespace(**vars(parsed))


class TestOpenClip:
    def data(self, module: Any, release: Release) -> tuple[dict[str, Any], Any]:
        import open_clip

        preprocess = [open_clip.image_transform(32, is_train=is_train) for is_train in (True, False)]
        tokenizer = open_clip.get_tokenizer("ViT-B-32")
        return module.get_data(open_clip_arguments(release), preprocess, tokenizer=tokenizer), tokenizer

    def test_its_training_loader_yields_full_batches_of_images_and_tokens(self, open_clip_data: Any, curated: Curated) -> None:
        data, tokenizer = self.data(open_clip_data, curated.release)
        loader, num_samples = data["train"].dataloader, curated.release.num_samples("train")
        assert loader.num_batches == -(-num_samples // BATCH)
        known = {
            tuple(tokens.tolist())
            for tokens in tokenizer([want["texts"]["taxon_com"] for want in expected(curated.release, "train").values()])
        }
        num_batches = 0
        for images, tokens in loader:
            assert images.shape == (BATCH, 3, 32, 32)
            assert torch.isfinite(images).all()
            assert {tuple(row) for row in tokens.tolist()} <= known
            num_batches += 1
        assert num_batches == loader.num_batches

    def test_its_validation_loader_meets_every_sample_once(self, open_clip_data: Any, curated: Curated) -> None:
        data, tokenizer = self.data(open_clip_data, curated.release)
        found = [tuple(row) for _, tokens in data["val"].dataloader for row in tokens.tolist()]
        wanted = tokenizer([want["texts"]["taxon_com"] for want in expected(curated.release, "val").values()]).tolist()
        assert sorted(found) == sorted(map(tuple, wanted))


def test_bioclips_loader_finds_the_members_it_renames(open_clip_data: Any, curated: Curated) -> None:
    """Its fork of that loader groups and decodes alike, keeps samples with any text member, and takes five texts of each."""
    pipeline = webdataset.DataPipeline(
        webdataset.SimpleShardList(braces(curated.release, "val")),
        open_clip_data.tarfile_to_samples_nothrow,
        webdataset.select(lambda sample: "jpg" in sample and any("txt" in name for name in sample)),
        webdataset.decode("pilrgb"),
        webdataset.rename(image="jpg;png;jpeg;webp", **{name: f"{name}.txt" for name in BIOCLIP_TYPES}),
        webdataset.to_tuple("__key__", "image", *BIOCLIP_TYPES),
    )
    wanted = expected(curated.release, "val")
    found = {key: (image, texts) for key, image, *texts in pipeline}
    assert found.keys() == wanted.keys()
    for key, (image, texts) in found.items():
        assert image.mode == "RGB"
        assert texts == [wanted[key]["texts"][name] for name in BIOCLIP_TYPES]


def test_webdataset_shuffles_without_losing_a_sample(curated: Curated) -> None:
    dataset = webdataset.WebDataset(braces(curated.release, "train"), shardshuffle=100).shuffle(200).decode("pil")
    keys = [sample["__key__"] for sample in dataset]
    wanted = expected(curated.release, "train")
    assert sorted(keys) == sorted(wanted)
    assert keys != sorted(keys)


def test_wids_gives_any_sample_by_its_number(curated: Curated, tmp_path: Path) -> None:
    import wids

    release = curated.release
    dataset = wids.ShardListDataset(release.storage.uri("shards/val/shardindex.json"), cache_dir=str(tmp_path))
    wanted = expected(release, "val")
    order = [key for shard in release.shards("val") for key in sorted(wanted) if wanted[key]["row"]["shard"] == shard]
    assert len(dataset) == len(order)
    for number in (0, 1, len(order) // 2, len(order) - 1):
        sample = dataset[number]
        assert sample["__key__"] == order[number]
        assert max(sample[".jpg"].size) <= curated.settings.shards.image_px
        assert sample[".txt"] == wanted[order[number]]["texts"]["taxon_com"]
    dataset.close()


def test_samples_of_all_splits_have_the_same_members_and_metadata_of_the_same_types(curated: Curated) -> None:
    """Hugging Face's builder takes its columns from the first samples and refuses a later one that differs."""
    shapes = {
        (tuple(sample)[2:], tuple((name, type(value)) for name, value in sample["json"].items()))
        for split in curated.release.manifest["splits"]
        for sample in webdataset.WebDataset(braces(curated.release, split), shardshuffle=False).decode()
    }
    [(members, metadata)] = shapes
    assert members == tuple(extension.lower() for extension in MEMBER_EXTENSIONS)
    assert {kind for _, kind in metadata} == {str}


HUGGING_FACE = """
import json, sys
import datasets
files, cache = json.loads(sys.argv[1]), sys.argv[2]
loaded = datasets.load_dataset("webdataset", data_files=files, cache_dir=cache)
found = {split: {"keys": list(rows["__key__"]), "first": rows[0]} for split, rows in loaded.items()}
for split in found.values():
    split["first"]["jpg"] = list(split["first"]["jpg"].size)
print(json.dumps(found))
"""


@pytest.mark.skipif(importlib.util.find_spec("datasets") is None, reason="Hugging Face datasets is not installed")
def test_hugging_face_datasets_loads_the_splits_offline(curated: Curated, tmp_path: Path) -> None:
    release = curated.release
    files = {split: release.storage.uri(f"shards/{split}/*.tar") for split in ("val", "heldout")}
    command = [sys.executable, "-c", HUGGING_FACE, json.dumps(files), str(tmp_path / "cache")]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    for split, found in json.loads(finished.stdout.splitlines()[-1]).items():
        wanted = expected(release, split)
        assert sorted(found["keys"]) == sorted(wanted)
        first = found["first"]
        sample = wanted[first["__key__"]]
        assert max(first["jpg"]) <= curated.settings.shards.image_px
        assert first["json"]["species"] == sample["row"]["species"]
        assert {name: first[f"{name}.txt"] for name in TEXT_MEMBERS} == sample["texts"]
