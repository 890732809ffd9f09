"""Further languages and descriptions are members in addition to BioCLIP's ten, which do not change."""

from __future__ import annotations

import gc
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import webdataset

from bioclip.errors import SettingsError, StorageError
from bioclip.partitions import read_stage
from bioclip.releases.manifest import Release
from bioclip.settings.loading import load_settings
from bioclip.shards.index import read_sample
from bioclip.shards.members import MEMBER_EXTENSIONS
from bioclip.taxonomy.stage import plan_backbones
from bioclip.taxonomy.vernacular_stage import plan_vernaculars
from bioclip.verification.verify import verify_release
from tests.conftest import Curated, run_jobs
from tests.selection.conftest import Workspace

GERMAN = {"bfo_fungi:bfo-125135": "Violetter Rötelritterling", "bfo_tracheophyta:bfo-117567": "Acker-Senf"}
"""By the ids of Lepista nuda and Sinapis arvensis in the bundled backbone."""


@pytest.fixture(scope="module")
def german(curated: Curated, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The sample with a backbone that has two German names more, and one of a taxon that is not there."""
    folder = tmp_path_factory.mktemp("german")
    workspace = Workspace(curated, folder / "workspace")
    [backbone] = workspace.base.taxonomy.backbones
    with zipfile.ZipFile(backbone.path) as old, zipfile.ZipFile(folder / "backbone.zip", "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.startswith("Vernacular"):
                added = [*GERMAN.items(), ("absent:1", "Niemand")]
                data += "".join(f"{taxon}\t{text}\tdeu\ttest\n" for taxon, text in added).encode()
            new.writestr(name, data)
    changed = backbone.model_copy(update={"path": str(folder / "backbone.zip")})
    taxonomy = workspace.base.taxonomy.model_copy(update={"backbones": (changed,)})
    workspace.base = workspace.base.model_copy(update={"taxonomy": taxonomy})
    run_jobs(workspace.storage, "backbones", plan_backbones(workspace.storage, workspace.base))
    settings = workspace.settings(languages=["en", "de"])
    run_jobs(workspace.storage, "vernaculars", plan_vernaculars(workspace.storage, settings))
    return workspace


def samples_of(release: Release, name: str) -> list[dict[str, Any]]:
    return [row for row in release.samples().to_pylist() if row["split"] and row["verbatim_name"] == name]


def members_of(release: Release, shard: str) -> dict[str, bytes]:
    with release.storage.reader(shard) as stream, tarfile.open(fileobj=stream) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


class TestVernaculars:
    def test_english_by_the_table_is_english_by_the_index(self, german: Workspace) -> None:
        table = pq.read_table(german.storage.uri("taxonomy/vernaculars/sample.parquet")).to_pylist()
        index = pq.read_table(german.storage.uri("taxonomy/backbones/sample.parquet")).to_pylist()
        english = {row["accepted_id"]: row["name"] for row in table if row["language"] == "en"}
        assert english == {row["taxon_id"]: row["common_name"] for row in index if row["common_name"]}
        assert len(english) > 300

    def test_every_vernacular_name_is_chosen_or_counted_out(self, german: Workspace) -> None:
        [result] = run_jobs(german.storage, "vernaculars", plan_vernaculars(german.storage, german.settings(languages=["en", "de"])))
        assert result.reused
        counts = result.manifest.counts
        assert counts.notes["names_de"] == 2
        assert counts.dropped["vernacular_dangling"] == 1

    def test_german_members_follow_and_the_scientific_name_stands_in(self, german: Workspace) -> None:
        release = german.publish(languages=["en", "de"], sentences={"de": "ein Foto von {}."})
        nuda = samples_of(release, "Lepista nuda")[0]
        members = read_sample(release, nuda["record_id"])
        assert members["common_name.de.txt"].decode() == "Violetter Rötelritterling"
        assert members["com.de.txt"].decode() == "ein Foto von Violetter Rötelritterling."
        assert members["common_name.txt"].decode() == nuda["common_name"]
        rows = [row for row in release.samples().to_pylist() if row["split"] and row["genus"] not in {nuda["genus"], "Sinapis"}]
        row = next(row for row in rows if row["species"] and row["common_name"])
        assert read_sample(release, row["record_id"])["common_name.de.txt"].decode() == row["species"]
        assert release.manifest["inputs"]["vernaculars"] == read_stage(german.storage, "vernaculars").digest
        notes = release.manifest["counts"]["release"]["notes"]
        assert notes["samples_named_de"] >= len(samples_of(release, "Lepista nuda"))
        assert verify_release(release.storage, deep=True).findings == ()

    def test_a_language_that_was_never_read_is_no_language_without_names(self, german: Workspace) -> None:
        with pytest.raises(StorageError, match=r"stage 'vernaculars' of .* was run for other languages"):
            german.assign(languages=["en", "de", "fr"])

    def test_the_ten_members_are_the_bytes_they_were(self, german: Workspace, curated: Curated) -> None:
        release = german.publish(languages=["de", "en"])
        assert release.version != curated.release.version
        for name in curated.release.shards("val"):
            before, after = (members_of(one, name) for one in (curated.release, release))
            assert before == {name: data for name, data in after.items() if ".de." not in name}
            assert len(after) == len(before) // len(MEMBER_EXTENSIONS) * (len(MEMBER_EXTENSIONS) + 2)

    @pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
    def test_the_webdataset_library_reads_them_by_name(self, german: Workspace) -> None:
        release = german.publish(languages=["en", "de"])
        urls = [release.storage.uri(name) for name in release.shards("val")]
        for sample in webdataset.WebDataset(urls, shardshuffle=False).decode():
            assert sample["com.de.txt"] == f"a photo of {sample['common_name.de.txt']}."
        gc.collect()

    @pytest.mark.parametrize(
        ("assignment", "message"),
        [
            ("release={languages: [German]}", "'German' is not a language code"),
            ("release={sentences: {de: ein Foto}}", r"must contain \{\} exactly once"),
        ],
    )
    def test_wrong_languages_are_refused(self, assignment: str, message: str) -> None:
        with pytest.raises(SettingsError, match=message):
            load_settings(assignments=[assignment])


class TestDescriptions:
    def table(self, path: Path, *rows: str) -> str:
        path.write_text("scientific_name,description,source,license\n" + "".join(f"{row}\n" for row in rows))
        return str(path)

    def test_a_description_reaches_all_samples_of_its_species_under_any_of_its_names(self, workspace: Workspace, tmp_path: Path) -> None:
        path = self.table(
            tmp_path / "accounts.csv",
            'Clitocybe nuda,"A violet mushroom,  found late.",Field guide,CC-BY-4.0',
            "Lepista nuda,Again.,,",
            "Panthera tigris,Striped.,,",
            "Rara avis,Unknown.,,",
            "Daucus carota,,,",
        )
        release = workspace.publish(descriptions=path)
        described = [*samples_of(release, "Lepista nuda"), *samples_of(release, "Clitocybe nuda")]
        assert described
        for row in described:
            assert read_sample(release, row["record_id"])["description.txt"] == b"A violet mushroom, found late."
        texts = pq.read_table(release.storage.uri("texts.parquet")).to_pylist()
        assert [(row["member"], row["source"], row["license"]) for row in texts] == [("description", "Field guide", "CC-BY-4.0")]
        notes = release.manifest["counts"]["release"]["notes"]
        assert notes["samples_with_description"] == len(described)
        assert notes["descriptions_used"] == notes["descriptions_repeated"] == notes["descriptions_empty"] == 1
        assert notes.get("descriptions_without_image", 0) + notes["descriptions_not_resolved"] == 2
        assert verify_release(release.storage, deep=True).findings == ()

    def test_a_changed_text_writes_the_shards_of_its_species_again_under_a_new_version(self, workspace: Workspace, tmp_path: Path) -> None:
        first, second = (
            workspace.publish(descriptions=self.table(tmp_path / "accounts.csv", f"Lepista nuda,{text},,"))
            for text in ("Violet.", "Lilac.")
        )
        assert first.version != second.version
        changed = [name for name in second.shards("train") if first.storage.digest(name) != second.storage.digest(name)]
        holding = {row["shard"] for row in second.samples().to_pylist() if row["verbatim_name"] in {"Lepista nuda", "Clitocybe nuda"}}
        assert set(changed) <= holding

    def test_a_release_that_continues_one_keeps_the_shards_whose_texts_are_the_same(self, workspace: Workspace, tmp_path: Path) -> None:
        path = tmp_path / "accounts.csv"
        first = workspace.publish(descriptions=self.table(path, "Lepista nuda,Violet.,,"))
        in_training = {row["species"] for row in first.samples().to_pylist() if row["split"] == "train"}
        species = min(in_training - {"", "Lepista nuda"})
        second = workspace.publish(descriptions=self.table(path, "Lepista nuda,Violet.,,", f"{species},Grey.,,"), parent=first.version)
        former = {row["record_id"]: row for row in first.samples().to_pylist() if row["split"]}
        holding = {row["shard"] for row in former.values() if row["species"] == species}
        for row in second.samples().to_pylist():
            if row["split"]:
                is_kept = row["shard"] == f"../{first.version}/{former[row['record_id']]['shard']}"
                assert is_kept == (former[row["record_id"]]["shard"] not in holding)
        assert verify_release(second.storage, deep=True).findings == ()
        third = workspace.publish(parent=second.version)
        described = {row["shard"] for row in second.samples().to_pylist() if row["species"] in {species, "Lepista nuda"} and row["split"]}
        assert not described & {row["shard"] for row in third.samples().to_pylist()}

    def test_a_member_that_texts_do_not_know_is_found_by_verify(self, workspace: Workspace, tmp_path: Path) -> None:
        release = workspace.publish(descriptions=self.table(tmp_path / "accounts.csv", "Lepista nuda,Violet.,,"))
        manifest = release.manifest["files"]["texts.parquet"]
        assert manifest["num_bytes"] > 0
        release.storage.remove("texts.parquet")
        kinds = {finding.kind for finding in verify_release(release.storage, deep=True).findings}
        assert {"file_missing", "members_differ"} <= kinds

    def test_a_table_without_descriptions_is_refused(self, workspace: Workspace, tmp_path: Path) -> None:
        (tmp_path / "names.csv").write_text("scientific_name,text\nLepista nuda,Violet\n")
        with pytest.raises(SettingsError, match="has no columns scientific_name and description"):
            workspace.assign(descriptions=str(tmp_path / "names.csv"))
