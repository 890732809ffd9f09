"""What a manifest may not say, what is asked of the parent, and what older releases lack."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from benchmarks.releases.release_folder import Folder
from bioclip.releases.manifest import Release
from bioclip.settings import PipelineSettings
from bioclip.verification.manifest import is_inside, stated_settings
from flows.commands.cli import main
from tests.conftest import Curated
from tests.selection.conftest import Workspace
from tests.verification.conftest import NUM_IMAGES, STORED_PX, Work, make_release

Manifest = dict[str, Any]


def edited(work: Work, edit: Callable[[Manifest], Any]) -> Work:
    manifest = work.folder.manifest
    edit(manifest)
    work.folder.write_manifest(manifest)
    return work


@pytest.mark.parametrize("name", ["samples.parquet", "shards/val/sizes.json", "../0123456789ab/shards/train/shard-00003.tar"])
def test_files_of_the_release_and_shards_beside_it_are_inside(name: str) -> None:
    assert is_inside(name)


@pytest.mark.parametrize(
    "name",
    ["/etc/hosts", "../../secret", "../0123456789ab/samples.parquet", "shards/../../x.tar", "../x/shards/train/shard-00000.tar", "a\0b"],
)
def test_all_else_is_outside(name: str) -> None:
    assert not is_inside(name)


def test_a_file_outside_is_named_and_not_read(work: Work) -> None:
    (work.root.parent / "secret.json").write_text("{}")
    edited(work, lambda manifest: manifest["files"].update({"../secret.json": {"sha256": "0" * 64, "num_bytes": 2}}))
    assert ("file_outside", "manifest.json") in work.found()
    assert not {name for _, name in work.found()} & {"../secret.json"}


def test_a_shard_outside_its_split_or_named_twice_is_named(work: Work) -> None:
    def swap(manifest: Manifest) -> None:
        shards = manifest["splits"]["train"]["shards"]
        shards[1] = shards[0]
        shards[2]["name"] = "shards/val/" + shards[2]["name"].rsplit("/", 1)[1]

    assert {"shard_named_twice", "shard_name_unknown"} <= edited(work, swap).kinds(deep=False)


def test_settings_that_no_pipeline_takes_are_named(work: Work) -> None:
    edited(work, lambda manifest: manifest["settings"]["duplicates"].update(radius="wide"))
    assert {"settings_unreadable"} <= work.kinds()


def test_settings_are_read_without_the_places_that_no_manifest_states(releases: dict[int, Release]) -> None:
    manifest = json.loads(json.dumps(releases[STORED_PX].manifest))
    manifest["settings"]["taxonomy"]["backbones"] = [{"name": "gbif", "format": "dwca"}]
    manifest["settings"]["leakage"]["against"] = [{"name": "rare-species"}]
    settings = stated_settings(manifest)
    assert isinstance(settings, PipelineSettings)
    assert (settings.taxonomy.backbones[0].name, settings.leakage.against[0].name) == ("gbif", "rare-species")
    assert settings.release.train_small_fraction == 0.3


@pytest.mark.parametrize("key", ["parent", "next_shards", "counts", "splits", "settings", "inputs", "files"])
def test_a_manifest_that_lacks_a_part_is_damaged_and_no_crash(work: Work, key: str) -> None:
    assert "manifest_damaged" in edited(work, lambda manifest: manifest.pop(key)).kinds()


@pytest.mark.parametrize("name", ["samples.parquet", "fingerprints.parquet", "licenses.parquet", "evaluated.parquet", "croissant.json"])
def test_a_release_of_an_older_version_that_lacks_a_file_is_told_so(work: Work, name: str) -> None:
    (work.root / name).unlink()
    edited(work, lambda manifest: [manifest["files"].pop(name), manifest.update(schema_version=1, code_version="0.0.9")])
    findings = work.check().findings
    assert {finding.kind for finding in findings} <= {"file_not_listed", "schema_unknown", "text_differs"}
    [missing] = [finding for finding in findings if finding.kind == "file_not_listed"]
    assert f"{name} is not listed; check with bioclip-pipeline 0.0.9" in missing.detail


def test_texts_of_another_version_are_not_judged_and_that_is_said(work: Work) -> None:
    edited(work, lambda manifest: manifest.update(code_version="0.0.9"))
    found = work.check()
    assert found.findings == ()
    assert any("bioclip-pipeline 0.0.9 wrote them" in words for words in found.unverifiable)


def test_the_deep_check_says_what_it_cannot_vouch_for(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    assert work.check(deep=False).unverifiable == ()
    assert main(["verify", str(work.root), "--deep"]) == 0
    out = capsys.readouterr().out
    assert "A release alone cannot prove: the providers' statements" in out
    assert "Compare the manifest's SHA-256 above with the published one." in out


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> tuple[Release, Release]:
    """A release, and one that continues it without a few of its images and with some more."""
    root = tmp_path_factory.mktemp("line")
    return make_release(root, STORED_PX), make_release(root, STORED_PX, range(3, NUM_IMAGES + 20))


@pytest.fixture
def second(line: tuple[Release, Release], tmp_path: Path) -> Work:
    first, later = line
    shutil.copytree(Path(first.storage.root).parent, tmp_path / "releases")
    return Work(Folder(tmp_path / "releases" / later.version))


def test_a_release_that_continues_another_is_sound(second: Work, line: tuple[Release, Release]) -> None:
    first, later = line
    assert later.parent == (first.version, first.digest)
    assert any(name.startswith("../") for name in later.shards("train"))
    assert second.check().findings == ()


def test_a_parent_that_became_another_is_named(second: Work, line: tuple[Release, Release]) -> None:
    path = second.root.parent / line[0].version / "manifest.json"
    path.write_bytes(path.read_bytes() + b" ")
    assert second.found(deep=False) == {("parent_differs", f"../{line[0].version}/manifest.json")}


def test_a_kept_shard_that_the_parent_states_otherwise_is_named(second: Work, line: tuple[Release, Release]) -> None:
    parent = Folder(second.root.parent / line[0].version)
    manifest = parent.manifest
    kept = next(name for name in line[1].shards("train") if name.startswith("../"))
    for shard in manifest["splits"]["train"]["shards"]:
        if kept.endswith(shard["name"]):
            shard["sha256"] = "0" * 64
    parent.write_manifest(manifest)
    digest = Work(parent).check(deep=False).digest
    edited(second, lambda manifest: manifest.update(parent={"version": line[0].version, "digest": digest}))
    assert ("parent_differs", kept) in second.found(deep=False)


def test_what_the_parent_evaluated_on_must_stay_listed_as_it_was(second: Work) -> None:
    table = second.folder.table("evaluated.parquet")
    current = {row["record_id"] for row in second.folder.table("samples.parquet").to_pylist() if row["split"] in {"val", "heldout"}}
    gone = [row for row, record_id in enumerate(table["record_id"].to_pylist()) if record_id not in current]
    if not gone:
        pytest.fail("no evaluated image was withdrawn: take others out in `line`")
    second.folder.set_value("evaluated.parquet", gone[0], pixel_sha256="0" * 64)
    second.folder.reseal()
    assert ("row_differs", "evaluated.parquet") in second.found()
    second.folder.write_table("evaluated.parquet", table.filter(pa.array([row not in gone for row in range(table.num_rows)])))
    second.folder.reseal()
    assert ("evaluated_missing", "evaluated.parquet") in second.found()


def test_a_parent_that_was_given_up_is_no_fault_but_is_said(second: Work, line: tuple[Release, Release]) -> None:
    (second.root.parent / line[0].version / "manifest.json").unlink()
    found = second.check()
    assert found.findings == ()
    assert f"the parent release {line[0].version}, which is not in the same folder" in found.unverifiable


def test_shards_of_an_unnamed_parent_are_refused(second: Work) -> None:
    edited(second, lambda manifest: manifest.update(parent={"version": "", "digest": ""}))
    assert ("shard_name_unknown", "manifest.json") in second.found(deep=False)


def test_a_list_of_held_out_species_is_compared_with_training(curated: Curated, tmp_path: Path) -> None:
    workspace = Workspace(curated, tmp_path / "workspace")
    path = tmp_path / "rare.csv"
    path.write_text("scientific_name\nLepista nuda\nNullius nomen\n")
    made = workspace.publish(heldout_list=str(path), train_small_fraction=0.2)
    work = Work(Folder(Path(made.storage.root)))
    assert work.check().findings == ()
    listed = work.folder.table("heldout_list.parquet")
    outcomes = listed["outcome"].to_pylist()
    trained = next(row["species"] for row in made.samples().to_pylist() if row["split"] == "train" and row["species"])
    work.folder.set_value("heldout_list.parquet", outcomes.index("held_out"), species=trained)
    work.folder.set_value("heldout_list.parquet", outcomes.index("not_resolved"), outcome="no_image")
    work.folder.reseal()
    assert {("leaked_species", "heldout_list.parquet"), ("counts_do_not_add_up", "heldout_list.parquet")} <= work.found()
