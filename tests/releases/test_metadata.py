"""The metadata of a release with a parent lists the shards at their locations, and other tools' readers find them."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from bioclip.releases import Release
from bioclip.trace import open_scope, trace_image
from tests.releases.conftest import Grown

READ = """
import json, sys
import datasets, mlcroissant
folder, cache = sys.argv[1:]
loaded = datasets.load_dataset(folder, cache_dir=cache)
images = mlcroissant.Dataset(f"{folder}/croissant.json").records("val")
print(json.dumps({"train": list(loaded["train"]["__key__"]), "val": [row["val/uuid"].decode() for row in images]}))
"""


@pytest.fixture(scope="module")
def kept(grown: Grown) -> dict[str, Any]:
    """A sample of the second release whose shard is in the first."""
    rows = grown.second.samples().to_pylist()
    return next(row for row in rows if row["shard"].startswith("../"))


def keys(release: Release, split: str) -> list[str]:
    """Record ids of a split."""
    return sorted(row["record_id"] for row in release.samples(["record_id", "split"]).to_pylist() if row["split"] == split)


def test_card_croissant_and_catalog_name_every_shard_that_the_manifest_names(grown: Grown) -> None:
    storage = grown.second.storage
    names = {name for split in grown.second.manifest["splits"] for name in grown.second.shards(split)}
    assert any(name.startswith("../") for name in names)
    stated = json.loads(storage.read_bytes("croissant.json"))
    assert names <= {node.get("contentUrl") for node in stated["distribution"]}
    front = yaml.safe_load(storage.read_bytes("README.md").decode().split("---")[1])
    for entry in front["configs"][0]["data_files"]:
        assert entry["path"] in (grown.second.shards(entry["split"]), f"shards/{entry['split']}/*.tar")
    with storage.reader("catalog.parquet") as stream:
        assert set(pq.read_table(stream)["shard_file_path"].to_pylist()) == names


def test_a_kept_sample_is_traced_into_the_shard_of_the_earlier_release(grown: Grown, kept: dict[str, Any]) -> None:
    scope = open_scope(grown.storage, grown.second.version)
    descent = trace_image(scope, kept["record_id"])
    facts = descent.step("shard").facts
    assert facts["shard"] == kept["shard"]
    assert facts["shard_sha256"] == grown.second.storage.digest(kept["shard"])[0]
    assert facts["members"]["jpg"]["num_bytes"] > 0
    assert descent.step("captions").remarks == ()
    assert descent.step("release").facts["why"]


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("datasets", "mlcroissant")), reason="datasets or mlcroissant is not installed"
)
@pytest.mark.slow
def test_others_readers_follow_the_names_to_the_earlier_release(grown: Grown, tmp_path: Path) -> None:
    command = [sys.executable, "-c", READ, grown.second.storage.root, str(tmp_path / "cache")]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "CROISSANT_CACHE": str(tmp_path / "croissant")}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout.splitlines()[-1])
    assert {split: sorted(found[split]) for split in found} == {split: keys(grown.second, split) for split in ("train", "val")}
