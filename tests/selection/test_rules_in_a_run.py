"""All rules of a release at once: a whole run of the command with them, training on what they make, and a release that continues it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from bioclip.models.trained import ModelInfo, list_models, read_model_info
from bioclip.releases.locating import open_release
from bioclip.releases.manifest import Release
from bioclip.sample import sample_path
from bioclip.sample.demo import demo_settings
from bioclip.sample.server import SampleServer
from bioclip.selection.filters import read_scores
from bioclip.settings.loading import build_settings, read_yaml
from bioclip.shards.members import MEMBER_EXTENSIONS
from bioclip.shards.stage import release_version
from bioclip.storage import Storage
from bioclip.trace import Scope, trace_image
from bioclip.verification.verify import verify_release
from tests.conftest import curate_in_process
from tests.flows.test_pipeline import TINY

CAP, SHARPEST_REFUSED, MIN_SIDE_PX, MAX_ASPECT = 9, 60.0, 100, 1.6
LISTED = "Clitocybe nuda"
"""The sample's backbone knows it as a synonym of Lepista nuda."""
GERMAN = {"bfo_tracheophyta:bfo-117567": "Acker-Senf", "bfo_fungi:bfo-125135": "Violetter Rötelritterling"}
CURATE_AND_TRAIN = """
import sys
from pathlib import Path
from bioclip.settings.loading import load_settings
from flows.embedded_prefect import embedded_prefect
from flows.environment import prepare_environment
from tasks.context import state_dir

settings = load_settings(Path(sys.argv[1]))
prepare_environment(state_dir(settings), verbose=False)
with embedded_prefect(state_dir(settings) / "prefect.log"):
    from prefect import flow
    from flows.curate import make_release
    from tasks.context import open_context
    from tasks.learning import train_model

    @flow(name="curate-and-train")
    def curate_and_train(settings):
        with open_context(settings) as context:
            train_model(context, make_release(context).version)

    curate_and_train(settings)
"""
"""What `treeoflife run` does, without evaluation and report, which rules of a release do not concern."""
_TIMEOUT_S = 300
pytestmark = pytest.mark.slow


def write_backbone(path: Path) -> Path:
    """The bundled backbone with two German names more."""
    with zipfile.ZipFile(sample_path("backbone")) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            added = "".join(f"{taxon}\t{text}\tde\ttest\n" for taxon, text in GERMAN.items()) if name.startswith("Vernacular") else ""
            new.writestr(name, old.read(name) + added.encode())
    return path


def write_settings(folder: Path, address: str) -> Path:
    """Settings of a run with every kind of rule, in `folder/workspace`."""
    (folder / "listed.txt").write_text(f"{LISTED}\nPanthera tigris\n")
    (folder / "accounts.csv").write_text(
        "scientific_name,description\nSinapis arvensis,A yellow weed of fields.\nDaucus carota,An umbel with one dark flower.\n"
    )
    tree = demo_settings(address, folder / "workspace")
    tree["taxonomy"]["backbones"][0]["path"] = str(write_backbone(folder / "backbone.zip"))
    tree["release"] |= {
        "heldout_list": str(folder / "listed.txt"),
        "train_small_fraction": 0.4,
        "max_per_species": CAP,
        "languages": ["en", "de"],
        "sentences": {"de": "ein Foto von {}."},
        "descriptions": str(folder / "accounts.csv"),
        "min_side_px": MIN_SIDE_PX,
        "max_aspect": MAX_ASPECT,
        "filters": [{"name": "blurred", "scorer": "sharpness", "threshold": SHARPEST_REFUSED}],
    }
    captions = {"split": "train_small", "caption_types": ["taxon", "com.de", "description"], "caption_fallback": "sci_com"}
    tree["training"] = TINY | captions | {"num_steps": 6, "warmup_steps": 1}
    tree["shards"] = {"samples_per_shard": 40}
    tree["cluster"] = {"num_workers": 1}
    tree["workspace"]["state_dir"] = str(folder / "state")
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


@dataclass(frozen=True)
class Ruled:
    """What the command made. Tests must not write into it."""

    folder: Path
    storage: Storage
    release: Release
    model: ModelInfo

    @property
    def rows(self) -> list[dict[str, Any]]:
        """samples.parquet."""
        return rows_of(self.release)


def rows_of(release: Release) -> list[dict[str, Any]]:
    """samples.parquet."""
    rows: list[dict[str, Any]] = release.samples().to_pylist()
    return rows


def small_ids(release: Release) -> set[str]:
    """Record ids of train_small.parquet."""
    return set(pq.read_table(release.storage.uri("train_small.parquet"))["record_id"].to_pylist())


@pytest.fixture(scope="module")
def ruled(sample_server: SampleServer, shared_prefect: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Ruled:
    folder = tmp_path_factory.mktemp("ruled")
    command = [sys.executable, "-c", CURATE_AND_TRAIN, str(write_settings(folder, sample_server.address))]
    environment = os.environ | shared_prefect
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    storage = Storage(str(folder / "workspace"))
    [model] = list_models(storage)
    return Ruled(folder, storage, open_release(storage, "latest"), read_model_info(storage, model))


@pytest.fixture(scope="module")
def continued(ruled: Ruled) -> Release:
    """A release of the same rules after a few training images were withdrawn, which continues the first."""
    gone = [row["record_id"] for row in ruled.rows if row["split"] == "train"][::40]
    (ruled.folder / "takedown.txt").write_text("\n".join(gone))
    return curate(ruled, ruled.folder, ingest={"takedown": str(ruled.folder / "takedown.txt")})


def curate(ruled: Ruled, folder: Path, **sections: dict[str, Any]) -> Release:
    """All data stages in `folder/workspace`, by the settings of the run with sections merged in."""
    tree = read_yaml(ruled.folder / "settings.yaml")
    tree["workspace"]["uri"] = str(folder / "workspace")
    for section, values in sections.items():
        tree[section] |= values
    settings, storage = build_settings(tree), Storage(str(folder / "workspace"))
    curate_in_process(settings)
    return open_release(storage, release_version(storage, settings))


def members_by_key(release: Release, split: str) -> dict[str, dict[str, bytes]]:
    """Members of every sample in the tars of a split."""
    found: dict[str, dict[str, bytes]] = defaultdict(dict)
    for shard in release.shards(split):
        with release.storage.reader(shard) as stream, tarfile.open(fileobj=stream) as tar:
            for entry in tar:
                key, _, member = entry.name.partition(".")
                content = tar.extractfile(entry)
                assert content is not None
                found[key][member] = content.read()
    return dict(found)


class TestTheRelease:
    def test_every_image_is_a_sample_or_has_a_reason_and_the_counts_add_up(self, ruled: Ruled) -> None:
        counts = ruled.release.manifest["counts"]["release"]
        reasons = Counter(row["drop_reason"] for row in ruled.rows if row["drop_reason"])
        assert counts["dropped"] == reasons
        assert counts["read"] == len(ruled.rows) == counts["written"] + sum(reasons.values())
        for reason in ("side_below_minimum", "aspect_above_maximum", "filter_blurred", "species_over_cap"):
            assert reasons[reason] > 0, reason
        splits = Counter(row["split"] for row in ruled.rows if row["split"])
        assert splits == {split: ruled.release.num_samples(split) for split in ("train", "val", "heldout")}
        assert all(
            row["drop_detail"] for row in ruled.rows if row["drop_reason"].startswith(("side_", "aspect_", "filter_", "species_over"))
        )

    def test_each_rule_holds_for_what_is_left(self, ruled: Ruled) -> None:
        table = read_scores(ruled.storage, "blurred")
        scores = dict(zip(table["record_id"].to_pylist(), table["score"].to_pylist(), strict=True))
        images = pq.read_table(ruled.storage.uri("images"), columns=["record_id", "original_width", "original_height"]).to_pylist()
        sizes = {row["record_id"]: sorted((row["original_width"], row["original_height"])) for row in images}
        for row in (row for row in ruled.rows if row["split"]):
            shorter, longer = sizes[row["record_id"]]
            assert shorter >= MIN_SIDE_PX
            assert longer <= MAX_ASPECT * shorter
            assert scores[row["record_id"]] >= SHARPEST_REFUSED
        of_species = Counter(row["species"] for row in ruled.rows if row["split"] == "train" and row["species"])
        assert max(of_species.values()) == CAP
        assert ruled.release.manifest["tail"]

    def test_the_species_of_the_list_is_held_out_under_its_accepted_name_and_no_other_is(self, ruled: Ruled) -> None:
        assert {row["species"] for row in ruled.rows if row["split"] == "heldout"} == {"Lepista nuda"}
        listed = pq.read_table(ruled.release.storage.uri("heldout_list.parquet")).to_pylist()
        assert [(row["name"], row["species"], row["outcome"]) for row in listed] == [
            (LISTED, "Lepista nuda", "held_out"),
            ("Panthera tigris", "", "not_resolved"),
        ]

    @pytest.mark.parametrize("split", ["train", "val", "heldout"])
    def test_shards_hold_all_members_of_just_their_samples(self, ruled: Ruled, split: str) -> None:
        rows = {row["record_id"]: row for row in ruled.rows if row["split"] == split}
        found = members_by_key(ruled.release, split)
        assert found.keys() == rows.keys()
        for key, members in found.items():
            described = {"description.txt"} if rows[key]["species"] in {"Sinapis arvensis", "Daucus carota"} else set()
            assert members.keys() == {*MEMBER_EXTENSIONS, "com.de.txt", "common_name.de.txt", *described}
        german = {rows[key]["species"]: members["com.de.txt"].decode() for key, members in found.items()}
        expected = {"Lepista nuda": "Violetter Rötelritterling", "Sinapis arvensis": "Acker-Senf"}
        for species, text in german.items():
            assert species == "" or text == f"ein Foto von {expected.get(species, species)}."

    def test_it_verifies_in_depth(self, ruled: Ruled) -> None:
        assert verify_release(ruled.release.storage, deep=True).findings == ()


class TestTheModel:
    def test_it_was_trained_on_the_small_part_with_the_further_captions(self, ruled: Ruled) -> None:
        small = small_ids(ruled.release)
        assert (ruled.model.split, ruled.model.num_training_samples) == ("train_small", len(small))
        assert ruled.model.release_digest == ruled.release.digest
        described = sum(row["species"] in {"Sinapis arvensis", "Daucus carota"} for row in ruled.rows if row["record_id"] in small)
        assert 0 < described < len(small)
        assert ruled.model.samples_without == {"description": len(small) - described}

    def test_mlflow_says_so(self, ruled: Ruled) -> None:
        run_id = json.loads(ruled.storage.read_bytes(f"{ruled.model.folder}/mlflow.json"))["run_id"]
        with sqlite3.connect(ruled.folder / "state" / "mlflow.db") as store:
            tags, params, metrics = (
                dict(store.execute(f"SELECT key, value FROM {table} WHERE run_uuid = ?", [run_id]).fetchall())  # noqa: S608
                for table in ("tags", "params", "latest_metrics")
            )
        assert tags["treeoflife.split"] == params["training.split"] == "train_small"
        assert params["num_training_samples"] == str(ruled.model.num_training_samples)
        assert metrics["summary/samples_without_description"] == ruled.model.samples_without["description"]

    def test_trace_claims_no_image_outside_the_part(self, ruled: Ruled) -> None:
        scope, small = Scope(ruled.release, ruled.storage), small_ids(ruled.release)
        train = sorted(row["record_id"] for row in ruled.rows if row["split"] == "train")
        for record_id, expected in ((min(small), True), (next(one for one in train if one not in small), False)):
            facts = trace_image(scope, record_id).step("models").facts
            assert facts["trained_on_this_image"] is expected
            assert facts["models"][ruled.model.model_id]["split"] == "train_small"


class TestTheReleaseThatContinues:
    def test_it_names_the_first_and_verifies_in_depth(self, ruled: Ruled, continued: Release) -> None:
        assert continued.parent == (ruled.release.version, ruled.release.digest)
        assert verify_release(continued.storage, deep=True).findings == ()

    def test_no_image_changes_its_split_or_leaves_or_joins_the_small_part(self, ruled: Ruled, continued: Release) -> None:
        before, after = ({row["record_id"]: row["split"] for row in rows if row["split"]} for rows in (ruled.rows, rows_of(continued)))
        both = before.keys() & after.keys()
        assert {record_id: before[record_id] for record_id in both} == {record_id: after[record_id] for record_id in both}
        assert {split: sum(value == split for value in before.values()) for split in ("val", "heldout")} == {
            split: sum(value == split for value in after.values()) for split in ("val", "heldout")
        }
        taken = (ruled.folder / "takedown.txt").read_text().split()
        assert before.keys() - after.keys() == set(taken)
        trained = {record_id for record_id in both if after[record_id] == "train"}
        assert small_ids(ruled.release) & trained == small_ids(continued) & trained

    def test_room_under_the_cap_goes_to_images_that_were_over_it(self, ruled: Ruled, continued: Release) -> None:
        before = {row["record_id"]: row for row in ruled.rows}
        joined = [row for row in rows_of(continued) if row["split"] == "train" and before[row["record_id"]]["split"] != "train"]
        reasons = {before[row["record_id"]]["drop_reason"] for row in joined}
        assert "species_over_cap" in reasons
        # A duplicate may take the place of the image that was kept instead of it, where that one was withdrawn.
        assert reasons <= {"species_over_cap", "duplicate_bytes", "duplicate_near"}
        withdrawn = before.keys() - {row["record_id"] for row in rows_of(continued)}
        for row in joined:
            if before[row["record_id"]]["drop_reason"].startswith("duplicate_"):
                assert any(name in before[row["record_id"]]["drop_detail"] for name in withdrawn), before[row["record_id"]]
