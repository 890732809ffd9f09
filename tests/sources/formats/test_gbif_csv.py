"""GBIF's simple CSV, alone and with the multimedia table of a Darwin Core download."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from bioclip.errors import ArchiveError
from bioclip.settings import SourceSettings
from bioclip.sources import Dropped
from tests.sources.contract import FormatContract, drops, read, records

HEADER = (
    "gbifID datasetKey occurrenceID kingdom phylum class order family genus species infraspecificEpithet taxonRank scientificName "
    "verbatimScientificName verbatimScientificNameAuthorship countryCode locality stateProvince occurrenceStatus individualCount "
    "publishingOrgKey decimalLatitude decimalLongitude coordinateUncertaintyInMeters coordinatePrecision elevation elevationAccuracy "
    "depth depthAccuracy eventDate day month year taxonKey speciesKey basisOfRecord institutionCode collectionCode catalogNumber "
    "recordNumber identifiedBy dateIdentified license rightsHolder recordedBy typeStatus establishmentMeans lastInterpreted mediaType issue"
)
MEDIA_HEADER = (
    "gbifID type format identifier references title description created creator contributor publisher audience source license rightsHolder"
)
COLUMNS, MEDIA_COLUMNS = HEADER.split(" "), MEDIA_HEADER.split(" ")


def occurrence(gbif_id: str, **values: str) -> str:
    row = {
        "gbifID": gbif_id, "occurrenceID": f"urn:{gbif_id}", "kingdom": "Fungi", "class": "Agaricomycetes", "genus": "Amanita",
        "species": "Amanita muscaria", "taxonRank": "SPECIES", "scientificName": "Amanita muscaria (L.) Lam.", "license": "CC_BY_NC_4_0",
        "decimalLatitude": "59.3", "decimalLongitude": "18.1", "basisOfRecord": "HUMAN_OBSERVATION", "mediaType": "StillImage",
        "recordedBy": 'Åsa "Svampen" Berg', "rightsHolder": "Åsa Berg", **values,
    }  # fmt: skip
    return "\t".join(row.get(column, "") for column in COLUMNS)


def medium(gbif_id: str, url: str, **values: str) -> str:
    row = {"gbifID": gbif_id, "type": "StillImage", "identifier": url, "creator": "Åsa", **values}
    return "\t".join(row.get(column, "") for column in MEDIA_COLUMNS)


def write(folder: Path, occurrences: list[str], media: list[str] | None) -> SourceSettings:
    with zipfile.ZipFile(folder / "0012345.zip", "w") as archive:
        archive.writestr("0012345.csv", "\n".join(["\t".join(COLUMNS), *occurrences]) + "\n")
    options = {}
    if media is not None:
        (folder / "multimedia.txt").write_text("\n".join(["\t".join(MEDIA_COLUMNS), *media]) + "\n", encoding="utf-8")
        options["media"] = str(folder / "multimedia.txt")
    return SourceSettings(name="gbif", format="gbif_csv", path=str(folder / "0012345.zip"), options=options)


class TestGbifSimpleCsv(FormatContract):
    num_rows = 7

    @staticmethod
    def make(folder: Path) -> SourceSettings:
        occurrences = [occurrence("10"), occurrence("11", mediaType=""), occurrence("12", license="CC0_1_0"), occurrence("12")]
        media = [
            medium("12", "https://a.org/3.jpg", license="http://creativecommons.org/licenses/by/4.0/"),
            medium("10", "https://a.org/1.jpg"),
            medium("10", "https://a.org/2.mp3", type="Sound"),
            medium("10", "https://a.org/2.jpg"),
            medium("99", "https://a.org/9.jpg"),
        ]
        return write(folder, occurrences, media)

    def test_media_come_with_their_occurrence_numbered_in_order(self) -> None:
        found = [(record.source_id, record.media_index, record.media_url) for record in records(self.source)]
        assert found == [("10", 0, "https://a.org/1.jpg"), ("10", 1, "https://a.org/2.jpg"), ("12", 0, "https://a.org/3.jpg")]

    def test_a_medium_s_licence_goes_before_its_occurrence_s(self) -> None:
        assert [record.license for record in records(self.source)] == ["CC-BY-NC-4.0", "CC-BY-NC-4.0", "CC-BY-4.0"]

    def test_quotes_in_names_are_text(self) -> None:
        assert records(self.source)[0].observer == 'Åsa "Svampen" Berg'

    def test_each_row_without_an_image_says_why(self) -> None:
        expected = {"not_a_still_image": 1, "no_media_url": 1, "media_without_occurrence": 1, "occurrence_repeated": 1}
        assert drops(self.source) == expected


def test_without_a_multimedia_table_every_row_is_counted_as_without_url(tmp_path: Path) -> None:
    source = write(tmp_path, [occurrence("1"), occurrence("2")], None)
    assert (records(source), drops(source)) == ([], {"no_media_url": 2})


def test_a_row_cut_short_is_dropped_and_counted_with_its_line(tmp_path: Path) -> None:
    source = write(tmp_path, [occurrence("1"), "2\tcut", occurrence("3")], None)
    assert drops(source) == {"no_media_url": 2, "row_ragged": 1}
    [ragged] = [item for item in read(source) if isinstance(item, Dropped) and item.reason == "row_ragged"]
    assert ragged.places[0].endswith("0012345.zip:0012345.csv, line 3: 2 fields, but the header has 50")


def test_a_darwin_core_table_is_no_simple_csv(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("gbifID\tscientificName\n1\tApis\n")
    with pytest.raises(ArchiveError, match=r"a\.csv, line 1: column 'occurrenceID' is missing"):
        records(SourceSettings(name="gbif", format="gbif_csv", path=str(tmp_path / "a.csv")))
