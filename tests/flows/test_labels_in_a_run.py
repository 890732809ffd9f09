"""Class folders that no backbone knows, from the folder to the scores."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from bioclip.releases import Release, open_release
from bioclip.sample import sample_path
from bioclip.shards.index import read_sample
from bioclip.shards.sample_lineages import read_lineages
from bioclip.storage import Storage
from bioclip.training.data.lineage_matrix import merge_lineages
from bioclip.verification.verify import verify_release
from flows.commands.cli import main
from tests.flows.test_pipeline import TINY

pytestmark = pytest.mark.slow
FOLDERS = ("Amphiprion clarkii", "Zanclus cornutus", "Zebrasoma scopas", "my cat", "orchid no. 3", "Dascyllus sp. 2", "unknown")
NUM_EACH = 6


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings and photographs that all differ, in class folders."""
    home = tmp_path_factory.mktemp("labels")
    with zipfile.ZipFile(sample_path("media")) as media:
        names = [name for name in sorted(media.namelist()) if name.endswith(".jpg")]
        for place, name in enumerate(names[10 : 10 + NUM_EACH * len(FOLDERS)]):
            target = home / "photographs" / FOLDERS[place % len(FOLDERS)] / f"{place}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(media.read(name))
    shutil.copy(sample_path("backbone"), home / "backbone.zip")
    assert main(["init", str(home / "photographs"), "--backbone", str(home / "backbone.zip"), "--output", str(home / "settings.yaml")]) == 0
    tree = yaml.safe_load((home / "settings.yaml").read_text())
    tree |= {
        "ingest": {"num_partitions": 2},
        "release": {"name": "mine", "heldout_species": ["orchid no. 3"], "val_fraction": 0.4},
        "training": TINY | {"num_steps": 4, "batch_size": 8, "warmup_steps": 1, "checkpoint_every_steps": 4},
        "evaluation": {"caption_types": ["taxon_com"], "num_folds": 1, "num_bootstraps": 50},
    }
    (home / "settings.yaml").write_text(yaml.safe_dump(tree))
    return home


def treeoflife(environment: dict[str, str], *words: str) -> dict[str, Any]:
    """The JSON that a command prints."""
    command = [sys.executable, "-m", "flows.commands.cli", *words, "--json"]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def done(home: Path, shared_prefect: dict[str, str]) -> dict[str, Any]:
    """The summary of the whole run."""
    return treeoflife(shared_prefect, "run", "--settings", str(home / "settings.yaml"))


@pytest.fixture(scope="module")
def release(home: Path, done: dict[str, Any]) -> Release:
    return open_release(Storage(str(home / "workspace")), done["release"]["version"])


def test_images_of_unknown_labels_are_samples_and_placeholders_are_not(done: dict[str, Any], release: Release) -> None:
    rows = release.samples(["species", "genus", "resolved_rank", "accepted_id", "split", "drop_reason"]).to_pylist()
    labels = {row["species"]: (row["genus"], row["accepted_id"]) for row in rows if row["resolved_rank"] == "label"}
    assert labels == {
        "my cat": ("", "label:my cat"),
        "orchid no. 3": ("", "label:orchid no. 3"),
        "Dascyllus sp. 2": ("Dascyllus", "label:Dascyllus sp. 2"),
    }
    reasons = Counter(row["drop_reason"] for row in rows if not row["drop_reason"].startswith("duplicate_"))
    assert 0 < reasons.pop("placeholder") <= NUM_EACH
    assert set(reasons) <= {"", "leak_near"}
    (names,) = (stage for stage in done["release"]["stages"] if stage["stage"] == "taxonomy")
    assert names["counts"]["notes"]["match_label"] == 3
    assert names["counts"]["dropped"] == {"placeholder": 1}


def test_splits_and_scores_take_a_label_as_a_species(done: dict[str, Any], release: Release) -> None:
    splits: dict[str, Counter[str]] = {"train": Counter(), "val": Counter(), "heldout": Counter()}
    for row in release.samples(["species", "split"]).to_pylist():
        if row["split"]:
            splits[row["split"]][row["species"]] += 1
    assert set(splits["heldout"]) == {"orchid no. 3"}
    assert set(splits["train"]) == set(FOLDERS) - {"unknown", "orchid no. 3"}
    assert splits["val"].keys() <= splits["train"].keys()
    known = next(line for line in done["scores"] if line["benchmark"] == "known_species" and line["measure"].startswith("zero-shot"))
    assert (known["num_classes"], known["num_images"]) == (len(splits["train"]), splits["val"].total())
    lineages = merge_lineages([read_lineages(release, "train").joined])
    assert {names[-1] for names in lineages.names_TR} == set(splits["train"])
    assert verify_release(release.storage, deep=True).findings == ()


def test_captions_are_of_the_label_as_given(release: Release) -> None:
    for row in release.samples(["record_id", "species", "split", "resolved_rank"]).to_pylist():
        if row["split"] and row["resolved_rank"] == "label":
            sample = read_sample(release, row["record_id"])
            assert sample["sci.txt"].decode() == f"a photo of {row['species']}."
            assert sample["com.txt"].decode() == f"a photo of {row['species']}."
            assert json.loads(sample["json"])["resolved_rank"] == "label"


def test_labels_are_dropped_where_the_setting_says_so(home: Path, release: Release, shared_prefect: dict[str, str]) -> None:
    words = ("curate", "--settings", str(home / "settings.yaml"), "--set", "taxonomy.keep_labels=false")
    strict = treeoflife(shared_prefect, *words, "--set", "release.heldout_species=[]", "--set", f"workspace.uri={home / 'strict'}")
    (names,) = (stage for stage in strict["release"]["stages"] if stage["stage"] == "taxonomy")
    assert names["counts"]["dropped"] == {"not_in_backbone": 1, "placeholder": 1, "unparsable": 1}
    samples = open_release(Storage(str(home / "strict")), strict["release"]["version"]).samples(["resolved_rank"])
    assert "label" not in samples["resolved_rank"].to_pylist()
