"""BIOSCAN-1M and -5M as they are published."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from bioclip.errors import ArchiveError, SettingsError
from bioclip.local_media import media_root, read_local_media
from bioclip.settings import SourceSettings
from tests.sources.contract import STATED, FormatContract, drops, only_record, photos, records, write_json

ONE_HEADER = (
    "sampleid processid uri name phylum class order family subfamily tribe genus species subspecies nucraw image_file "
    "large_diptera_family medium_diptera_family small_diptera_family large_insect_order medium_insect_order small_insect_order "
    "chunk_number copyright_license copyright_holder photographer"
)
FIVE_HEADER = (
    "processid,sampleid,taxon,phylum,class,order,family,subfamily,genus,species,dna_bin,dna_barcode,country,province_state,coord-lat,"
    "coord-lon,image_measurement_value,area_fraction,scale_factor,inferred_ranks,split,index_bioscan_1M_insect,chunk"
)
NOT = "not_classified"


def one(processid: str, **values: str) -> str:
    row = {
        "sampleid": f"BIOUG-{processid}", "processid": processid, "uri": "BOLD:AAA5125", "name": "Sciaridae", "phylum": "Arthropoda",
        "class": "Insecta", "order": "Diptera", "family": "Sciaridae", "subfamily": NOT, "tribe": NOT, "genus": NOT, "species": NOT,
        "subspecies": NOT, "nucraw": "AACTTTATAT", "image_file": f"{processid}.jpg", "chunk_number": "7",
        "copyright_license": "CreativeCommons - Attribution", "copyright_holder": "CBG", "photographer": "CBG Robot", **values,
    }  # fmt: skip
    return "\t".join(row.get(column, "") for column in ONE_HEADER.split())


def five(processid: str, **values: str) -> str:
    row = {
        "processid": processid, "sampleid": f"S-{processid}", "taxon": "Bradysia difformis", "phylum": "Arthropoda", "class": "Insecta",
        "order": "Diptera", "family": "Sciaridae", "genus": "Bradysia", "species": "Bradysia difformis", "dna_bin": "BOLD:AAB1111",
        "country": "Costa Rica", "coord-lat": "10.85", "coord-lon": "-85.6", "split": "pretrain", "chunk": "01", **values,
    }  # fmt: skip
    return ",".join(row.get(column, "") for column in FIVE_HEADER.split(","))


class TestBioscanOneMillion(FormatContract):
    num_rows = 4
    url_prefix = "local:part7/"

    @staticmethod
    def make(folder: Path) -> SourceSettings:
        species = {"name": "Bradysia difformis", "genus": "Bradysia", "species": "Bradysia difformis"}
        odd = {"name": "Bradysia sp. 1ES", "genus": "Bradysia", "species": "Bradysia sp. 1ES", "uri": NOT}
        rows = [one("A1"), one("A2", **species), one("A3", **odd), one("A4", image_file="")]
        path = folder / "BIOSCAN_Insect_Dataset_metadata.tsv"
        path.write_text("\n".join(["\t".join(ONE_HEADER.split()), *rows]) + "\n")
        with zipfile.ZipFile(folder / "cropped_256.zip", "w") as archive:
            archive.writestr("part7/A1.jpg", photos(1)[0][1])
        return SourceSettings(name="bioscan", format="bioscan", path=str(path), options={"images": str(folder / "cropped_256.zip")})

    def test_not_classified_is_missing_and_the_bin_is_kept_apart_from_names(self) -> None:
        family, species, odd = records(self.source)
        assert (family.genus, family.scientific_name, family.taxon_rank, family.identifier) == ("", "Sciaridae", "family", "BOLD:AAA5125")
        assert (species.taxon_rank, species.specific_epithet) == ("species", "difformis")
        assert (odd.scientific_name, odd.specific_epithet, odd.identifier) == ("Bradysia sp. 1ES", "", "")
        assert NOT not in family.verbatim.values()

    def test_the_class_columns_stand_and_the_kingdom_is_filled_in(self) -> None:
        assert {(record.kingdom, record.phylum, record.class_) for record in records(self.source)} == {
            ("Animalia", "Arthropoda", "Insecta")
        }

    def test_the_image_is_read_out_of_its_archive(self) -> None:
        assert read_local_media(records(self.source)[0].media_url, media_root(self.source), 1 << 20) == photos(1)[0][1]

    def test_a_row_without_image_is_counted(self) -> None:
        assert drops(self.source) == {"no_media_url": 1}

    def test_its_json_ld_gives_the_same_with_the_constants(self, tmp_path: Path) -> None:
        item = {"image_file": "part7/A1.jpg", "processid": "A1", "order": "Diptera", "family": "Sciaridae", "genus": NOT, "species": NOT}
        path = write_json(tmp_path / "BIOSCAN_Insect_Dataset_metadata.jsonld", [item])
        record = only_record(self.source.model_copy(update={"path": str(path)}))
        assert (record.kingdom, record.class_, record.family, record.genus) == ("Animalia", "Insecta", "Sciaridae", "")
        assert record.media_url == "local:part7/A1.jpg"


class TestBioscanFiveMillion(FormatContract):
    num_rows = 2
    url_prefix = "https://example.org/cropped_256/"
    has_kingdom = False

    @staticmethod
    def make(folder: Path) -> SourceSettings:
        path = folder / "BIOSCAN_5M_Insect_Dataset_metadata.csv"
        path.write_text("\n".join([FIVE_HEADER, five("B1"), five("B2", split="train", chunk="", taxon="Sciaridae", genus="", species="")]))
        options = {"images": "https://example.org/cropped_256", **STATED}
        return SourceSettings(name="bioscan5m", format="bioscan", path=str(path), options=options)

    def test_images_lie_by_split_and_chunk(self) -> None:
        urls = [record.media_url.removeprefix(self.url_prefix) for record in records(self.source)]
        assert urls == ["pretrain/01/B1.jpg", "train/B2.jpg"]

    def test_a_kingdom_that_the_file_does_not_say_stays_empty(self) -> None:
        first = records(self.source)[0]
        assert (first.kingdom, first.class_, first.latitude, first.verbatim["country"]) == ("", "Insecta", 10.85, "Costa Rica")

    def test_another_layout_may_be_named_in_the_file_s_columns_only(self) -> None:
        source = self.source.model_copy(update={"options": {**self.source.options, "layout": "{dna_bin}/{processid}.png"}})
        assert records(source)[0].media_url.endswith("/BOLD%3AAAB1111/B1.png")
        with pytest.raises(SettingsError, match="names the column 'shelf'; known: area_fraction"):
            records(source.model_copy(update={"options": {**self.source.options, "layout": "{shelf}.jpg"}}))

    def test_a_table_of_neither_version_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "x.csv").write_text("processid,species\n1,Apis\n")
        with pytest.raises(ArchiveError, match=r"x\.csv, line 2: no column of BIOSCAN-1M"):
            records(self.source.model_copy(update={"path": str(tmp_path / "x.csv")}))
