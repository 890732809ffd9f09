"""The provenance of an image: complete with workspace and release, with remarks on what is unavailable without one of them."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from bioclip.captions import captions
from bioclip.digests import readable_json
from bioclip.download.stage import read_outcomes
from bioclip.errors import StorageError
from bioclip.models.trained import ModelInfo
from bioclip.records import RANKS
from bioclip.sample.server import SampleServer
from bioclip.selection.splits import SPLIT_REASONS
from bioclip.shards.index import find_sample
from bioclip.storage import Storage
from bioclip.trace import ImageTrace, Scope, find_images, open_scope, trace_image
from flows.commands.cli import main
from tests.conftest import Curated, sample_settings
from tests.selection.conftest import Workspace

STEPS = [
    "record", "license", "download", "image", "duplicates", "name", "release", "captions", "shard", "releases", "models", "evaluations",
]  # fmt: skip


@pytest.fixture(scope="session")
def curated(unconfirmed: Curated) -> Curated:
    return unconfirmed


@pytest.fixture(scope="module")
def scope(curated: Curated) -> Scope:
    """The sample's workspace and its release."""
    return open_scope(curated.storage, curated.release.version)


@pytest.fixture(scope="module")
def rows(curated: Curated) -> list[dict[str, Any]]:
    """samples.parquet."""
    found: list[dict[str, Any]] = curated.release.samples().to_pylist()
    return found


@pytest.fixture
def alone(curated: Curated, tmp_path: Path) -> Path:
    """A copy of the release's folder, away from its workspace."""
    return Path(shutil.copytree(curated.release.storage.root, tmp_path / "mine"))


def some(rows: list[dict[str, Any]], **wanted: str) -> dict[str, Any]:
    """The first row with these values."""
    return next(row for row in rows if all(row[name] == value for name, value in wanted.items()))


def outcomes(curated: Curated) -> Iterator[dict[str, Any]]:
    """The whole ledger."""
    for index in range(curated.settings.ingest.num_partitions):
        yield from read_outcomes(curated.storage, index)


@pytest.fixture(scope="module")
def row(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A sample of val."""
    return some(rows, split="val", source="eol")


@pytest.fixture(scope="module")
def found(scope: Scope, row: dict[str, Any]) -> ImageTrace:
    """Its trace."""
    return trace_image(scope, row["record_id"])


class TestASample:
    def test_every_step_is_there_and_nothing_is_unavailable(self, found: ImageTrace, curated: Curated) -> None:
        assert [step.name for step in found.steps] == STEPS
        assert [step.remarks for step in found.steps] == [()] * len(STEPS)
        assert (found.final.stage, found.final.reason, found.release) == ("sample", "val", curated.release.version)

    def test_the_providers_row_names_its_snapshot(self, found: ImageTrace, row: dict[str, Any], curated: Curated) -> None:
        facts = found.step("record").facts
        assert (facts["source"], facts["source_id"], facts["media_url"]) == (row["source"], row["source_id"], row["media_url"])
        assert facts["snapshot_files"] == curated.release.manifest["snapshots"]["eol"]["digests"]
        assert facts["snapshot"] == curated.release.manifest["snapshots"]["eol"]["snapshot"]
        assert list(facts["further_columns"]) == ["EOL page ID"]

    def test_the_download_is_that_of_the_ledger(self, found: ImageTrace, row: dict[str, Any], curated: Curated) -> None:
        outcome = some(list(outcomes(curated)), record_id=row["record_id"])
        facts = found.step("download").facts
        assert (facts["status"], facts["http_status"], facts["attempts"]) == ("success", 200, outcome["attempts"])
        assert facts["fetched_at"] == outcome["fetched_at"].isoformat()

    def test_hashes_are_those_of_sample_and_fingerprint(self, found: ImageTrace, row: dict[str, Any], curated: Curated) -> None:
        facts = found.step("image").facts
        with curated.release.storage.reader("fingerprints.parquet") as stream:
            mark = some(pq.read_table(stream).to_pylist(), record_id=row["record_id"])
        assert facts["sha256"] == row["sha256"]
        assert (facts["original_sha256"], facts["pixel_sha256"]) == (mark["sha256"], mark["pixel_sha256"])
        assert int(facts["phash"], 16) == mark["phash"]

    def test_captions_are_the_very_bytes_of_the_shard_at_the_stated_place(self, found: ImageTrace, curated: Curated) -> None:
        shard = found.step("shard").facts
        tar = Path(curated.release.storage.uri(shard["shard"])).read_bytes()
        for member, place in shard["members"].items():
            if member.endswith(".txt"):
                text = tar[place["offset"] :][: place["num_bytes"]].decode()
                assert found.step("captions").facts[member.removesuffix(".txt")] == text
        assert curated.release.storage.digest(shard["shard"])[0] == shard["shard_sha256"]

    def test_the_name_comes_with_the_backbone_that_decided(self, found: ImageTrace, row: dict[str, Any], curated: Curated) -> None:
        facts = found.step("name").facts
        assert (facts["verbatim_scientific_name"], facts["accepted_id"]) == (row["verbatim_name"], row["accepted_id"])
        assert facts["backbone_key"] == curated.release.manifest["backbones"][facts["backbone"]]

    def test_it_is_plain_json(self, found: ImageTrace) -> None:
        assert json.loads(json.dumps(found.to_dict()))["final"] == asdict(found.final)


class TestWhatWasDropped:
    @pytest.mark.parametrize("reason", ["http_404", "http_503", "image_too_small", "not_an_image", "body_truncated"])
    def test_a_failed_download_ends_at_the_images_with_its_reason(self, scope: Scope, curated: Curated, reason: str) -> None:
        outcome = some(list(outcomes(curated)), reason=reason)
        found = trace_image(scope, outcome["record_id"])
        assert (found.final.stage, found.final.reason) == ("images", reason)
        assert found.step("download").facts["attempts"] == outcome["attempts"]
        assert found.step("duplicates").facts == {"group": "none: there is no image to compare"}
        assert found.step("shard").remarks == ("not applicable: the image was dropped",)

    @pytest.mark.parametrize(
        ("reason", "stage"),
        [("duplicate_near", "duplicates"), ("duplicate_bytes", "duplicates"), ("non_taxon", "taxonomy"), ("unparsable", "taxonomy"),
         ("leak_near", "release")],
    )  # fmt: skip
    def test_a_dropped_image_names_the_stage_that_dropped_it(self, scope: Scope, rows: Any, reason: str, stage: str) -> None:
        found = trace_image(scope, some(rows, drop_reason=reason)["record_id"])
        assert (found.final.stage, found.final.reason) == (stage, reason)
        assert found.step("release").facts["dropped_by"] == stage

    def test_a_duplicate_names_the_image_kept_and_that_one_names_it(self, scope: Scope, rows: Any) -> None:
        row = some(rows, drop_reason="duplicate_near")
        facts = trace_image(scope, row["record_id"]).step("duplicates").facts
        assert facts["kept_record_id"] == row["drop_detail"]
        assert facts["members"][row["drop_detail"]] == "kept"
        kept = trace_image(scope, row["drop_detail"]).step("duplicates").facts
        assert kept["members"][row["record_id"]] == f"duplicate_near, {facts['distance']} bits from the kept image"

    def test_a_conflict_of_labels_is_shown(self, scope: Scope, curated: Curated) -> None:
        with curated.storage.reader("splits/conflicts.parquet") as stream:
            conflict = pq.read_table(stream).to_pylist()[0]
        facts = trace_image(scope, conflict["record_id"]).step("duplicates").facts
        assert facts["label_conflict"] == {name: conflict[name] for name in ("rank", "accepted_name", "decision")}

    def test_a_leak_is_shown_on_both_sides(self, scope: Scope, curated: Curated) -> None:
        with curated.release.storage.reader("leaks.parquet") as stream:
            leak = pq.read_table(stream).to_pylist()[0]
        [evidence] = trace_image(scope, leak["record_id"]).step("release").facts["leaks"]
        assert leak["evaluation_record_id"] in evidence
        [other] = trace_image(scope, leak["evaluation_record_id"]).step("release").facts["kept_out_of_training_for_it"]
        assert leak["record_id"] in other


class TestIdentifiers:
    def test_an_image_is_found_by_all_that_one_may_have_of_it(self, scope: Scope, rows: Any, curated: Curated) -> None:
        row = some(rows, split="heldout", source="field-observations")
        image = trace_image(scope, row["record_id"]).step("image").facts
        names = [
            row["record_id"], f"{row['record_id']}.jpg", f"shards/heldout/{row['record_id']}.sci_com.txt", row["record_id"].upper(),
            image["original_sha256"], image["pixel_sha256"].upper(), row["sha256"], row["source_id"], f"{row['source']}:{row['source_id']}",
            row["media_url"], row["occurrence_id"],
        ]  # fmt: skip
        assert {name for name in names if row["record_id"] not in find_images(scope, name)} == set()

    def test_an_eol_image_is_found_by_tree_of_life_200ms_id(self, scope: Scope, rows: Any, curated: Curated) -> None:
        row = some(rows, split="train", source="eol")
        with curated.release.storage.reader("catalog.parquet") as stream:
            entry = some(pq.read_table(stream).to_pylist(), uuid=row["record_id"])
        assert entry["source_id"] != row["source_id"]
        assert find_images(scope, entry["source_id"]) == [row["record_id"]]

    def test_an_occurrence_means_all_its_images(self, scope: Scope, rows: Any) -> None:
        row = some(rows, source="field-observations", drop_reason="duplicate_bytes")
        wanted = {other["record_id"] for other in rows if other["occurrence_id"] == row["occurrence_id"]}
        assert wanted <= set(find_images(scope, row["occurrence_id"]))
        assert len(wanted) > 1

    @pytest.mark.parametrize("identifier", ["nope", "0" * 64, "00000000-0000-5000-8000-000000000000", "eol:nope", ""])
    def test_what_nobody_knows_is_said_to_be_unknown_with_the_numbers(self, scope: Scope, curated: Curated, identifier: str) -> None:
        number = curated.release.manifest["counts"]["records"]["written"]
        with pytest.raises(StorageError, match=rf"not found: .*the workspace has {number:,} records.*Give a record id"):
            find_images(scope, identifier)


class TestPartOfTheMaterial:
    def test_a_release_alone_tells_what_it_holds_and_names_what_it_cannot_see(self, alone: Path, rows: Any, curated: Curated) -> None:
        row = some(rows, split="train")
        found = trace_image(open_scope(Storage(str(alone / "no-workspace")), str(alone)), row["record_id"])
        assert found.final.reason == "train"
        assert found.step("image").facts["sha256"] == row["sha256"]
        assert found.step("captions").facts["sci"] == captions({rank: row[rank] for rank in RANKS}, row["common_name"])["sci"]
        assert found.step("shard").facts["members"].keys() == {
            row["member"] for row in find_sample(curated.release, row["record_id"]).to_pylist()
        }
        assert found.step("record").facts["snapshot"] == curated.release.manifest["snapshots"][row["source"]]["snapshot"]
        remarks = {step.name for step in found.steps if step.remarks}
        assert remarks == {"record", "download", "image", "duplicates", "name", "releases", "models", "evaluations"}

    def test_a_release_alone_tells_which_image_was_kept_for_a_duplicate(self, alone: Path, rows: Any) -> None:
        row = some(rows, drop_reason="duplicate_near")
        found = trace_image(open_scope(Storage(str(alone / "no-workspace")), str(alone)), row["record_id"])
        assert found.final.stage == "duplicates"
        assert found.step("duplicates").facts == {"kind": "duplicate_near", "kept_record_id": row["drop_detail"]}

    def test_a_folder_within_a_workspace_brings_the_workspace(self, curated: Curated, tmp_path: Path) -> None:
        found = open_scope(Storage(str(tmp_path)), curated.release.storage.root)
        assert found.workspace is not None
        assert Path(found.workspace.root) == Path(curated.storage.root)

    def test_captions_are_made_anew_where_the_shard_is_gone(self, alone: Path, rows: Any) -> None:
        row = some(rows, split="train")
        (alone / row["shard"]).unlink()
        step = trace_image(open_scope(Storage(str(alone)), str(alone)), row["record_id"]).step("captions")
        assert step.facts == captions({rank: row[rank] for rank in RANKS}, row["common_name"])
        assert "the shard cannot be read" in step.remarks[0]

    def test_a_workspace_that_has_moved_on_is_said_to(self, alone: Path, curated: Curated, rows: Any) -> None:
        manifest = json.loads((alone / "manifest.json").read_bytes())
        manifest["inputs"]["duplicates"] = "0" * 64
        (alone / "manifest.json").write_bytes(readable_json(manifest))
        older = Scope(open_scope(curated.storage, str(alone)).release, curated.storage)
        remarks = trace_image(older, some(rows, split="train")["record_id"]).step("duplicates").remarks
        assert remarks == (f"the workspace's stage duplicates has changed since release {curated.release.version}",)

    def test_a_workspace_without_a_release_tells_of_the_stages_so_far(self, curated: Curated, rows: Any) -> None:
        found = trace_image(Scope(None, curated.storage), some(rows, split="train")["record_id"])
        assert found.final.reason == "not_released"
        assert found.step("name").facts["match_type"] == "EXACT"
        assert found.step("release").remarks == ("no release is available",)

    def test_a_folder_that_is_no_release_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match=r"holds no manifest\.json: name a release"):
            open_scope(Storage(str(tmp_path)), str(tmp_path))

    def test_a_record_of_an_earlier_snapshot_is_still_found(self, sample_server: SampleServer, tmp_path: Path) -> None:
        made = Curated(sample_settings(sample_server, tmp_path))
        stage = json.loads(made.storage.read_bytes("stages/records.json"))
        stage["partitions"] = [partition for partition in stage["partitions"] if partition["name"] != "eol"]
        made.storage.write_bytes("stages/records.json", readable_json(stage))
        row = some(made.release.samples().to_pylist(), source="eol", split="train")
        step = trace_image(open_scope(made.storage, made.release.version), row["record_id"]).step("record")
        assert step.facts["source_id"] == row["source_id"]
        assert step.remarks[0].startswith("the current snapshot of eol lacks this record")


class TestUses:
    def model(self, **values: Any) -> ModelInfo:
        return ModelInfo(**{
            "model_id": "aaaaaaaaaaaa", "key": "a" * 64, "release_version": "", "release_digest": "", "settings": {}, "weights_sha256": "w",
            "num_parameters": 1, "num_steps": 10, "num_samples_seen": 200, "num_training_samples": 100, "loss_first": 2.0, "loss_last": 1.0,
        } | values)  # fmt: skip

    def write(self, root: Path, name: str, content: bytes) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)

    def test_models_and_evaluations_of_this_release_are_named_with_their_tracking_runs(
        self, curated: Curated, tmp_path: Path, rows: Any
    ) -> None:
        release = curated.release
        model = self.model(release_version=release.version, release_digest=release.digest)
        stray = self.model(model_id="bbbbbbbbbbbb", release_version=release.version, release_digest="other")
        evaluation = {
            "evaluation_id": "eeeeeeeeeeee", "key": "e" * 64, "model_id": model.model_id, "weights_sha256": "w",
            "release_version": release.version, "release_digest": release.digest, "settings": {}, "scores_sha256": "s",
            "benchmarks": [{"name": "known_species", "split": "val"}, {"name": "heldout_species", "split": "heldout"}],
        }  # fmt: skip
        self.write(tmp_path, f"{model.folder}/model.json", model.to_bytes())
        self.write(tmp_path, f"{model.folder}/mlflow.json", readable_json({"run_id": "r1", "link": "http://x/#/r1"}))
        self.write(tmp_path, f"{stray.folder}/model.json", stray.to_bytes())
        self.write(tmp_path, "evaluations/eeeeeeeeeeee/scores.json", readable_json(evaluation))
        scope = Scope(release, Storage(str(tmp_path)))
        trained = trace_image(scope, some(rows, split="train")["record_id"]).step("models")
        assert trained.facts["trained_on_this_image"] is True
        used = trained.facts["models"][model.model_id]
        assert (used["times_each_sample_was_seen"], used["mlflow_run"]) == (2.0, "r1")
        assert trained.remarks == (f"bbbbbbbbbbbb were trained on another manifest of version {release.version}",)
        held_out = trace_image(scope, some(rows, split="val")["record_id"])
        assert held_out.step("models").facts["trained_on_this_image"] is False
        assert held_out.step("evaluations").facts["evaluations"]["eeeeeeeeeeee"]["benchmarks_with_this_image"] == ["known_species"]


@pytest.fixture(scope="module")
def small(curated: Curated, tmp_path_factory: pytest.TempPathFactory) -> Scope:
    """A release with a small part of training, and a model of each value of `training.split`."""
    workspace = Workspace(curated, tmp_path_factory.mktemp("small") / "workspace")
    release = workspace.publish(train_small_fraction=0.3)
    for model_id, split in (("a" * 12, "train"), ("b" * 12, "train_small")):
        of_release = {"release_version": release.version, "release_digest": release.digest}
        info = TestUses().model(model_id=model_id, key=model_id, split=split, **of_release)
        workspace.storage.write_bytes(f"{info.folder}/model.json", info.to_bytes())
    return Scope(release, workspace.storage)


class TestPartsOfTraining:
    def knows(self, scope: Scope, row: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Of any model, and by split: whether it was trained on the image."""
        facts = trace_image(scope, row["record_id"]).step("models").facts
        return facts.get("trained_on_this_image"), {one["split"]: one["trained_on_this_image"] for one in facts["models"].values()}

    def test_a_model_of_the_part_is_said_to_know_the_images_of_the_part_alone(self, small: Scope) -> None:
        assert small.release is not None
        rows = small.release.samples(["record_id", "split"]).to_pylist()
        with small.release.storage.reader("train_small.parquet") as stream:
            held = set(pq.read_table(stream)["record_id"].to_pylist())
        train = [row for row in rows if row["split"] == "train"]
        inside, outside = (next(row for row in train if (row["record_id"] in held) == is_in) for is_in in (True, False))
        assert self.knows(small, inside) == (True, {"train": True, "train_small": True})
        assert self.knows(small, outside) == (True, {"train": True, "train_small": False})
        assert self.knows(small, some(rows, split="val")) == (False, {"train": False, "train_small": False})

    def test_where_the_list_is_gone_nothing_is_claimed_either_way(self, small: Scope, tmp_path: Path) -> None:
        assert small.workspace is not None
        assert small.release is not None
        shutil.copytree(small.workspace.root, tmp_path / "workspace")
        storage = Storage(str(tmp_path / "workspace"))
        storage.remove(f"releases/{small.release.version}/train_small.parquet")
        storage.remove(f"models/{'a' * 12}/model.json")
        scope = open_scope(storage, small.release.version)
        row = some(small.release.samples(["record_id", "split"]).to_pylist(), split="train")
        assert self.knows(scope, row) == (None, {"train_small": None})
        assert trace_image(scope, row["record_id"]).step("models").remarks == (
            "the release no longer has train_small.parquet: whether train_small contains this image is unknown",
        )


def test_the_recorded_reason_of_a_split_is_stated_with_its_sentence(scope: Scope, rows: Any) -> None:
    for split, reason in (("val", "drawn_for_val"), ("heldout", "heldout_by_hash"), ("train", "not_drawn_for_val")):
        facts = trace_image(scope, some(rows, split=split, split_reason=reason)["record_id"]).step("release").facts
        assert (facts["split_reason"], facts["why"]) == (reason, SPLIT_REASONS[reason])


class TestCommand:
    def test_it_prints_the_line_of_found(self, curated: Curated, rows: Any, capsys: pytest.CaptureFixture[str]) -> None:
        row = some(rows, split="heldout")
        assert main(["trace", row["record_id"], "--workspace", curated.storage.root, "--release", curated.release.version]) == 0
        printed = capsys.readouterr().out
        assert printed.startswith(f"{row['record_id']}: sample of heldout in release {curated.release.version}\n")
        assert [line for line in printed.splitlines() if line in STEPS] == STEPS
        assert f"  rights_holder: {row['rights_holder']}" in printed

    def test_json_holds_the_same(self, curated: Curated, rows: Any, capsys: pytest.CaptureFixture[str]) -> None:
        row = some(rows, split="heldout")
        command = ["trace", row["sha256"], "--workspace", curated.storage.root, "--release", curated.release.version, "--json"]
        assert main(command) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["num_images"] >= 1
        image = some(found["images"], record_id=row["record_id"])
        assert image["steps"]["release"]["facts"]["split"] == "heldout"

    def test_many_images_are_cut_short_and_said_to_be(
        self, curated: Curated, scope: Scope, rows: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        occurrence, number = Counter(one["occurrence_id"] for one in rows if one["occurrence_id"]).most_common(1)[0]
        monkeypatch.setattr("flows.commands.release.trace.MOST_SHOWN", number - 1)
        assert main(["trace", occurrence, "--release", curated.release.storage.root]) == 0
        printed = capsys.readouterr().out
        assert f"matches {len(find_images(scope, occurrence))} images; the first {number - 1} are shown" in printed
        assert printed.count(f" in release {curated.release.version}") + printed.count(": dropped by") == number - 1

    def test_an_unknown_id_fails_with_one_line(self, curated: Curated, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["trace", "nope", "--workspace", curated.storage.root]) == 1
        assert capsys.readouterr().err.startswith("treeoflife: error: 'nope' not found")
