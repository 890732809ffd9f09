"""A release as one folder for a data hub: `treeoflife release export --flat`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bioclip import layout
from bioclip.captions import TEXT_MEMBERS
from bioclip.releases.manifest import open_release_folder
from bioclip.storage import Storage
from bioclip.verification.verify import verify_release
from flows.commands.cli import main
from tests.releases.conftest import Grown, digests_below

_LOAD = """
import json, sys
import datasets
loaded = datasets.load_dataset(sys.argv[1], cache_dir=sys.argv[2])
found = {}
for split, rows in loaded.items():
    assert all(row["jpg"].convert("RGB").size[0] > 0 for row in rows)
    found[split] = [{"key": row["__key__"], "columns": sorted(row), "taxon": row["taxon.txt"], "json": row["json"]} for row in rows]
print(json.dumps(found))
"""


def load_dataset(folder: str, cache: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows by split of `datasets.load_dataset(folder)` in a process of its own; every image is decoded."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(cache)}
    done = subprocess.run([sys.executable, "-c", _LOAD, folder, str(cache)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def flat(grown: Grown, tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """The second release, some of whose shards are the first's, in one folder."""
    folder = tmp_path_factory.mktemp("flat") / "repository"
    assert main(["export", "latest", str(folder), "--flat", "--workspace", grown.storage.root]) == 0
    return Storage(str(folder))


def test_every_split_loads_with_its_images_and_the_columns_of_the_card(flat: Storage, grown: Grown, tmp_path: Path) -> None:
    rows = grown.second.samples(["record_id", "split", "species"]).to_pylist()
    loaded = load_dataset(flat.root, tmp_path)
    for split in ("train", "val", "heldout"):
        assert sorted(row["key"] for row in loaded[split]) == sorted(row["record_id"] for row in rows if row["split"] == split)
        for row in loaded[split]:
            assert {"jpg", "json", "txt", *(f"{name}.txt" for name in TEXT_MEMBERS)} <= set(row["columns"])
    species = {row["record_id"]: row["species"] for row in rows}
    assert all(row["json"]["species"] == species[row["key"]] for row in loaded["val"])
    assert all(row["taxon"].startswith("a photo of ") for row in loaded["train"])


def test_nothing_in_the_folder_leads_outside_it(flat: Storage, grown: Grown) -> None:
    release = open_release_folder(flat)
    assert any(name.startswith("../") for name in grown.second.files())
    assert not any(name.startswith("../") for name in release.files())
    for name in (layout.CARD, layout.MANIFEST, layout.CROISSANT, *(f"{layout.split_dir('train')}/{file}" for file in ("shardindex.json",))):
        assert b"../" not in flat.read_bytes(name)
    assert not any(shard.startswith("../") for shard in release.samples(["shard"])["shard"].to_pylist())
    assert verify_release(flat, deep=True).findings == ()
    assert (release.version, release.manifest["exported_from"]) == (grown.second.version, grown.second.digest)
    assert set(flat.list()) == {*release.files(), layout.MANIFEST, layout.SEAL}


def test_the_card_names_the_shards_of_each_split(flat: Storage) -> None:
    _, front, _ = flat.read_bytes(layout.CARD).decode().split("---\n", 2)
    (config,) = yaml.safe_load(front)["configs"]
    assert {entry["split"]: entry["path"] for entry in config["data_files"]} == {
        split: f"shards/{split}/*.tar" for split in ("train", "val", "heldout")
    }


def test_a_second_run_copies_nothing(flat: Storage, grown: Grown, capsys: pytest.CaptureFixture[str]) -> None:
    before = digests_below(flat)
    assert main(["export", "latest", flat.root, "--flat", "--workspace", grown.storage.root, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_copied"] == 0
    assert digests_below(flat) == before


def test_a_release_with_shards_of_its_own_is_copied_as_it_is(grown: Grown, tmp_path: Path) -> None:
    assert main(["export", grown.first.version, str(tmp_path / "one"), "--flat", "--workspace", grown.storage.root]) == 0
    assert open_release_folder(Storage(str(tmp_path / "one"))).digest == grown.first.digest
