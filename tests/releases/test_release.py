"""A release holds what it says, reads in others' loaders, and comes out the same every time."""

from __future__ import annotations

import gc
import io
import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import ClassVar

import pyarrow.parquet as pq
import pytest
import webdataset
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bioclip.captions import TEXT_MEMBERS, captions
from bioclip.digests import digest_bytes
from bioclip.errors import SettingsError, StorageError
from bioclip.images.encoding import encode_jpeg
from bioclip.partitions import read_stage
from bioclip.records import RANKS
from bioclip.releases.aliases import latest_release, point_latest
from bioclip.releases.locating import open_release
from bioclip.releases.manifest import list_releases
from bioclip.sample.server import SampleServer
from bioclip.selection.splits import HELDOUT, TRAIN, VAL
from bioclip.settings import ShardSettings
from bioclip.shards.members import shard_jpeg
from tests.conftest import Curated, sample_settings
from tests.selection.rows import splits_of

MAGPIE = {
    "kingdom": "Animalia",
    "phylum": "Chordata",
    "class": "Aves",
    "order": "Passeriformes",
    "family": "Corvidae",
    "genus": "Pica",
    "species": "Pica hudsonia",
}


class TestCaptions:
    def test_the_ten_members_are_worded_as_in_bioclip(self) -> None:
        taxon = "Animalia Chordata Aves Passeriformes Corvidae Pica hudsonia"
        tagged = "kingdom Animalia phylum Chordata class Aves order Passeriformes family Corvidae genus Pica species hudsonia"
        assert captions(MAGPIE, "black-billed magpie") == {
            "scientific_name": "Pica hudsonia",
            "taxonomic_name": taxon,
            "common_name": "black-billed magpie",
            "sci": "a photo of Pica hudsonia.",
            "com": "a photo of black-billed magpie.",
            "taxon": f"a photo of {taxon}.",
            "taxonTag": f"a photo of {tagged}.",
            "sci_com": "a photo of Pica hudsonia with common name black-billed magpie.",
            "taxon_com": f"a photo of {taxon} with common name black-billed magpie.",
            "taxonTag_com": f"a photo of {tagged} with common name black-billed magpie.",
        }

    def test_a_lineage_may_end_above_the_species_and_lack_a_common_name(self) -> None:
        family = {rank: MAGPIE[rank] if index < 5 else "" for index, rank in enumerate(RANKS)}
        assert captions(family, "")["sci_com"] == "a photo of Corvidae with common name Corvidae."
        assert captions(family, "")["taxon"] == "a photo of Animalia Chordata Aves Passeriformes Corvidae."


class TestSplits:
    species: ClassVar = ["Pica hudsonia"] * 20 + ["Rara avis"] * 3
    occurrences: ClassVar = [f"occurrence {index}" for index in range(23)]

    @given(st.lists(st.text(max_size=8), max_size=20))
    def test_an_image_keeps_its_side_when_data_is_added(self, others: list[str]) -> None:
        before = splits_of(self.species, self.occurrences)
        after = splits_of([*self.species, *others], [*self.occurrences, *others])
        assert after[: len(before)] == before

    def test_the_shares_are_about_what_the_settings_say(self) -> None:
        found = splits_of(["Pica hudsonia"] * 4000, [str(index) for index in range(4000)], val_fraction=0.2, heldout_fraction=0)
        assert 0.17 < found.count(VAL) / 4000 < 0.23

    def test_few_images_or_no_species_means_training(self) -> None:
        few = ["Rara avis"] * 3 + [""] * 50
        large = ["Pica hudsonia"] * 8
        found = splits_of([*few, *large], [str(index) for index in range(61)], val_fraction=0.9, heldout_fraction=0.99)
        assert set(found[:53]) == {TRAIN}

    def test_where_no_species_has_the_least_number_two_images_are_enough_for_val(self) -> None:
        found = splits_of(["Rara avis"] * 7, [str(index) for index in range(7)], val_fraction=0.9, heldout_fraction=0)
        assert VAL in found
        assert splits_of(["Rara avis"], ["0"], val_fraction=0.9, heldout_fraction=0) == [TRAIN]

    def test_a_list_of_species_is_held_out_exactly(self) -> None:
        found = splits_of(self.species, self.occurrences, heldout_species=("Rara avis",), val_fraction=0)
        assert found == [TRAIN] * 20 + [HELDOUT] * 3

    def test_a_name_that_no_image_has_is_refused(self) -> None:
        with pytest.raises(SettingsError, match="'Clitocybe nuda' is not the accepted name of any image"):
            splits_of(self.species, self.occurrences, heldout_species=("Clitocybe nuda",))


class TestShards:
    def test_a_jpeg_that_fits_is_copied_and_others_are_made_anew(self) -> None:
        image = Image.linear_gradient("L").convert("RGB").resize((300, 200))
        jpeg, png = encode_jpeg(image, 90), io.BytesIO()
        image.save(png, "PNG")
        assert shard_jpeg(jpeg, "JPEG", (300, 200), ShardSettings(image_px=300)) == jpeg
        for data, format_ in ((jpeg, "JPEG"), (png.getvalue(), "PNG")):
            smaller = shard_jpeg(data, format_, (300, 200), ShardSettings(image_px=150))
            assert Image.open(io.BytesIO(smaller)).size == (150, 100)
        squashed = shard_jpeg(jpeg, "JPEG", (300, 200), ShardSettings(image_px=224, square=True))
        assert Image.open(io.BytesIO(squashed)).size == (224, 224)

    @pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
    def test_webdataset_reads_every_sample_with_all_members(self, curated: Curated) -> None:
        urls = [curated.release.storage.uri(name) for name in curated.release.shards("train")]
        samples = {sample["__key__"]: sample for sample in webdataset.WebDataset(urls, shardshuffle=False).decode("pil")}
        wanted = {row["record_id"]: row for row in curated.release.samples().to_pylist() if row["split"] == "train"}
        assert samples.keys() == wanted.keys()
        for key, sample in samples.items():
            row = wanted[key]
            assert sample["jpg"].mode == "RGB"
            assert max(sample["jpg"].size) <= curated.settings.shards.image_px
            assert {name.removesuffix(".txt") for name in sample if name.endswith(".txt")} == {name.lower() for name in TEXT_MEMBERS}
            assert sample["json"]["species"] == row["species"]
            assert sample["taxon_com.txt"] == captions({rank: row[rank] for rank in RANKS}, row["common_name"])["taxon_com"]
        gc.collect()  # webdataset leaves its tars to the collector, which must not complain in a later test

    def test_members_carry_no_clock_and_no_user(self, curated: Curated) -> None:
        with curated.release.storage.reader(curated.release.shards("train")[0]) as stream, tarfile.open(fileobj=stream) as archive:
            assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in archive} == {(0, 0, 0, "", "", 0o644)}


class TestManifest:
    def test_every_file_has_the_digest_that_the_manifest_says(self, curated: Curated) -> None:
        manifest = curated.release.manifest
        named = {shard["name"]: shard["sha256"] for split in manifest["splits"].values() for shard in split["shards"]}
        named |= {name: entry["sha256"] for name, entry in manifest["files"].items()}
        for name, sha256 in named.items():
            assert curated.release.storage.digest(name)[0] == sha256
        there = {name for name in curated.release.storage.list() if not name.startswith("partitions/")}
        assert there == {*named, "manifest.json", "manifest.sha256"}

    def test_counts_of_splits_shards_and_table_agree(self, curated: Curated) -> None:
        table = Counter(curated.release.samples(["split"])["split"].to_pylist())
        for name, split in curated.release.manifest["splits"].items():
            assert split["num_samples"] == table[name] == sum(shard["num_samples"] for shard in split["shards"])
            assert split["num_samples"] > 0

    def test_every_stage_reads_what_the_one_before_wrote(self, curated: Curated) -> None:
        counts = {stage: read_stage(curated.storage, stage).counts for stage in curated.results}
        chain = ["records", "images"]
        assert counts["images"].read == counts[chain[0]].written
        assert counts["duplicates"].read == counts["release"].read == counts["images"].written
        assert counts["shards"].read == counts["release"].written
        for count in counts.values():
            assert count.read == count.written + sum(count.dropped.values())

    def test_every_dropped_image_has_one_reason_and_every_sample_none(self, curated: Curated) -> None:
        for row in curated.release.samples().to_pylist():
            assert bool(row["split"]) == bool(row["shard"]) == (not row["drop_reason"])

    def test_synonyms_filed_as_two_species_become_one_label(self, curated: Curated) -> None:
        rows = curated.release.samples(["verbatim_name", "species"]).to_pylist()
        labels = {row["verbatim_name"]: row["species"] for row in rows}
        assert labels["Clitocybe nuda"] == labels["Lepista nuda"] != ""
        assert labels["Armillaria ostoyae"] == labels["Armillaria solidipes"] != ""

    def test_garbled_names_and_non_organisms_reach_no_split(self, curated: Curated) -> None:
        rows = {row["verbatim_name"]: row for row in curated.release.samples().to_pylist()}
        for name in ("Inyritle come", "Identified by", "artifacts", "fecal_pellet"):
            assert rows[name]["split"] == ""
            assert rows[name]["drop_reason"] in {"not_in_backbone", "unparsable", "non_taxon"}

    def test_the_card_has_valid_front_matter_and_the_split_counts(self, curated: Curated) -> None:
        card = curated.release.storage.read_bytes("README.md").decode()
        front = yaml.safe_load(card.split("---")[1])
        assert front["license_name"] == "per-image"
        assert f"| train | {curated.release.num_samples('train'):,} |" in card

    def test_every_sample_names_its_holder_and_licence(self, curated: Curated) -> None:
        rows = [row for row in curated.release.samples().to_pylist() if row["split"]]
        assert all(row["license"] and row["rights_holder"] and row["media_url"] for row in rows)


def test_two_workspaces_give_the_same_bytes(curated: Curated, sample_server: SampleServer, tmp_path: Path) -> None:
    again = Curated(sample_settings(sample_server, tmp_path))
    assert again.release.digest == curated.release.digest
    for name in curated.storage.list():
        if not name.startswith(("outcomes/", ".state/")):
            assert digest_bytes(again.storage.read_bytes(name)) == digest_bytes(curated.storage.read_bytes(name)), name


def test_a_changed_setting_makes_another_version_and_leaves_the_first(sample_server: SampleServer, tmp_path: Path) -> None:
    first = Curated(sample_settings(sample_server, tmp_path))
    before = first.release.storage.digest("manifest.json")
    second = Curated(sample_settings(sample_server, tmp_path, release={"seed": 18}))
    assert second.release.version != first.release.version
    assert first.release.storage.digest("manifest.json") == before
    assert list_releases(first.storage) == sorted([first.release.version, second.release.version])
    assert [result.reused for result in second.results["images"]] == [True] * 8


def test_the_alias_latest_and_unknown_versions_are_clear(curated: Curated, tmp_path: Path) -> None:
    storage = type(curated.storage)(str(tmp_path))
    with pytest.raises(StorageError, match="holds no release"):
        latest_release(storage)
    point_latest(storage, "abc")
    assert latest_release(storage) == "abc"
    with pytest.raises(StorageError, match=rf"release 'nope' is not in .*; available: {curated.release.version}"):
        open_release(curated.storage, "nope")


def test_samples_are_readable_as_plain_parquet(curated: Curated) -> None:
    table = pq.read_table(curated.release.storage.uri("samples.parquet"))
    assert json.loads(curated.release.storage.read_bytes("manifest.json"))["counts"]["release"]["read"] == table.num_rows
