"""Every reader keeps one contract; each adds what its format has of its own."""

from __future__ import annotations

import re
import shutil
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bioclip.errors import ArchiveError, SettingsError, UnknownNameError
from bioclip.records import Record
from bioclip.sample import sample_path
from bioclip.sample.server import SampleServer
from bioclip.settings import SourceSettings
from bioclip.sources import FORMATS, Dropped, source_format
from bioclip.sources.contract import Noted, records_of
from bioclip.sources.stage import plan_records
from bioclip.storage import open_workspace
from tests.conftest import Curated, run_jobs, sample_settings

DWCA = SourceSettings(name="field", format="dwca", path=str(sample_path("field-observations")))
EOL = SourceSettings(name="eol", format="eol", path=str(sample_path("eol-media-manifest")), options={"taxa": str(sample_path("eol-taxon"))})


def read(source: SourceSettings) -> list[Record | Dropped | Noted]:
    """All items of a source."""
    return list(records_of(source_format(source).read(source), source.name))


def test_each_coordinate_of_the_sample_is_that_of_a_place_its_source_names() -> None:
    with zipfile.ZipFile(sample_path("field-observations")) as archive:
        lines = archive.read("occurrence.txt").decode().splitlines()
    rows = [dict(zip(lines[0].split("\t"), line.split("\t"), strict=True)) for line in lines[1:]]
    located = [row for row in rows if row["decimalLatitude"]]
    assert len(located) == 406
    for row in located:
        assert row["locality"]
        assert re.fullmatch(r"GeoNames \d+ \(.+\)", row["georeferenceSources"])
        assert int(row["coordinateUncertaintyInMeters"]) >= 5_000, "a named place is not a point"
    given = {record.source_id: (record.latitude, record.longitude) for record in read(DWCA) if isinstance(record, Record)}
    assert all(given[row["gbifID"]] == (float(row["decimalLatitude"]), float(row["decimalLongitude"])) for row in located)
    dates = [row["eventDate"] for row in rows if row["eventDate"]]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d(/\d{4}-\d\d-\d\d)?", date) for date in dates)


class SourceContract:
    """What every reader promises; a new source adds a subclass."""

    source: SourceSettings
    num_rows: int

    def test_every_row_becomes_a_record_or_a_named_drop(self) -> None:
        items = read(self.source)
        assert sum(item.count if isinstance(item, Dropped) else 1 for item in items) == self.num_rows
        assert all(item.reason for item in items if isinstance(item, Dropped))

    def test_reading_again_gives_the_same_records_in_the_same_order(self) -> None:
        assert read(self.source) == read(self.source)

    def test_records_say_whose_they_are_and_under_which_licence(self) -> None:
        records = [item for item in read(self.source) if isinstance(item, Record)]
        assert {record.source for record in records} == {self.source.name}
        assert all(record.source_id and record.media_url.startswith("http") for record in records)
        assert all(record.license and record.license_verbatim and record.rights_holder for record in records)
        assert len({record.id for record in records}) == len(records)

    def test_most_records_have_a_name_and_a_kingdom(self) -> None:
        records = [item for item in read(self.source) if isinstance(item, Record)]
        named = sum(bool(record.scientific_name and record.kingdom) for record in records)
        assert named > 0.9 * len(records)

    def test_a_missing_archive_is_named(self, tmp_path: Path) -> None:
        absent = self.source.model_copy(update={"path": str(tmp_path / "absent.zip")})
        with pytest.raises(ArchiveError, match=r"absent.zip' does not exist; download it or correct the setting"):
            source_format(absent).files(absent)

    def test_bytes_that_are_no_archive_are_refused_in_one_sentence(self, tmp_path: Path) -> None:
        junk = tmp_path / "junk.zip"
        junk.write_bytes(b"this is neither zip nor tar" * 100)
        with pytest.raises(ArchiveError, match=r"junk.zip"):
            read(self.source.model_copy(update={"path": str(junk)}))

    def test_an_unknown_option_is_refused(self) -> None:
        with pytest.raises(SettingsError, match="has no option 'flavour'"):
            source_format(self.source.model_copy(update={"options": {**self.source.options, "flavour": "x"}}))


class TestDarwinCoreArchive(SourceContract):
    source = DWCA
    num_rows = 782

    def test_media_of_one_occurrence_are_numbered_in_order(self) -> None:
        indices: dict[str, list[int]] = {}
        for item in read(DWCA):
            assert isinstance(item, Record)
            indices.setdefault(item.source_id, []).append(item.media_index)
        assert all(numbers == list(range(len(numbers))) for numbers in indices.values())
        assert max(map(len, indices.values())) > 2

    def test_a_folder_reads_as_its_zip_does(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(DWCA.path) as archive:
            archive.extractall(tmp_path)
        assert read(DWCA.model_copy(update={"path": str(tmp_path)})) == read(DWCA)

    def test_media_without_their_occurrence_and_sounds_are_dropped_by_name(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(DWCA.path) as archive:
            archive.extractall(tmp_path)
        table = tmp_path / "multimedia.txt"
        header, first, *rest = table.read_text().splitlines()
        columns = dict(zip(header.split("\t"), first.split("\t"), strict=True))
        orphan = "\t".join({**columns, header.split("\t")[0]: "no-such-occurrence"}.values())
        sound = "\t".join({**columns, "type": "Sound"}.values())
        nowhere = "\t".join({**columns, "identifier": ""}.values())
        table.write_text("\n".join([header, orphan, sound, nowhere, *rest]) + "\n")
        items = read(DWCA.model_copy(update={"path": str(tmp_path)}))
        reasons = Counter(item.reason for item in items if isinstance(item, Dropped))
        assert reasons == {"media_without_occurrence": 1, "not_a_still_image": 1, "no_media_url": 1}

    def test_a_malformed_meta_xml_names_file_line_and_rule(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(DWCA.path) as archive:
            archive.extractall(tmp_path)
        meta = tmp_path / "meta.xml"
        meta.write_text(meta.read_text().replace("</core>", "</cor>"))
        with pytest.raises(ArchiveError, match=r"meta\.xml line \d+: not well-formed XML"):
            read(DWCA.model_copy(update={"path": str(tmp_path)}))

    def test_media_of_a_checklist_have_the_taxon_s_names_and_no_occurrence(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(DWCA.path) as archive:
            archive.extractall(tmp_path)
        meta = tmp_path / "meta.xml"
        meta.write_text(
            meta.read_text().replace("dwc/terms/Occurrence", "dwc/terms/Taxon").replace("dwc/terms/occurrenceID", "dwc/terms/taxonID")
        )
        orphan = (tmp_path / "multimedia.txt").read_text().splitlines()[1].replace("\t", "x\t", 1)
        with (tmp_path / "multimedia.txt").open("a") as table:
            table.write(orphan + "\n")
        items = read(DWCA.model_copy(update={"path": str(tmp_path)}))
        records = [item for item in items if isinstance(item, Record)]
        occurrences = [item for item in read(DWCA) if isinstance(item, Record)]
        assert [record.scientific_name for record in records] == [record.scientific_name for record in occurrences]
        assert {record.occurrence_id for record in records} == {""}
        assert [item for item in items if isinstance(item, Dropped)] == [Dropped("media_without_taxon", 1)]

    def test_an_archive_without_media_is_refused_with_what_would_do(self) -> None:
        with pytest.raises(ArchiveError, match=r"has no media extension; one of http://rs\.gbif\.org/terms/1\.0/Multimedia"):
            read(DWCA.model_copy(update={"path": str(sample_path("backbone"))}))


class TestEolManifest(SourceContract):
    source = EOL
    num_rows = 841

    def test_names_come_from_the_page_with_its_whole_lineage(self) -> None:
        apples = [item for item in read(EOL) if isinstance(item, Record) and item.scientific_name.startswith("Malus domestica")]
        assert apples
        lineages = {(apple.kingdom, apple.family, apple.genus, apple.taxon_rank) for apple in apples}
        assert lineages == {("Plantae", "Rosaceae", "Malus", "species")}

    def test_the_hierarchy_is_required(self) -> None:
        with pytest.raises(SettingsError, match=r"format 'eol' needs options\.taxa"):
            source_format(EOL.model_copy(update={"options": {}}))

    def test_a_line_of_the_wrong_length_is_dropped_and_named(self, tmp_path: Path) -> None:
        header = "EOL content ID,EOL page ID,Medium Source URL,EOL Full-Size Copy URL,License Name,Copyright Owner"
        (tmp_path / "media_manifest_1.csv").write_text(f"{header}\n1,2,http://a,http://b,cc-by,me\n1,2\n")
        [ragged] = [item for item in read(EOL.model_copy(update={"path": str(tmp_path)})) if isinstance(item, Dropped)]
        assert (ragged.reason, ragged.count) == ("row_ragged", 1)
        assert ragged.places[0].endswith("media_manifest_1.csv, line 3: 2 fields, but the header has 6")

    def test_a_missing_column_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "media_manifest_1.csv").write_text("EOL content ID,EOL page ID\n")
        with pytest.raises(ArchiveError, match=r"line 1: column 'Medium Source URL' is missing"):
            read(EOL.model_copy(update={"path": str(tmp_path)}))


def test_an_unknown_format_lists_those_there_are() -> None:
    with pytest.raises(UnknownNameError, match=r"source format 'gbiff' is not registered; known: .*dwca, eol"):
        source_format(DWCA.model_copy(update={"format": "gbiff"}))
    assert {"dwca", "eol"} <= FORMATS.keys()


def test_records_lie_sorted_in_the_partition_of_their_id(curated: Curated) -> None:
    for output in curated.results["records"][0].manifest.outputs:
        table = pq.read_table(curated.storage.uri(output.name))
        identifiers = table["record_id"].to_pylist()
        assert identifiers == sorted(identifiers)
        index = int(output.name.rsplit("part-")[1].split(".")[0])
        assert {int(identifier[:8], 16) * 8 >> 32 for identifier in identifiers} <= {index}


def test_a_licence_filter_counts_what_it_drops(sample_server: SampleServer, tmp_path: Path) -> None:
    settings = sample_settings(sample_server, tmp_path, ingest={"licenses": ["MIT"]})
    storage = open_workspace(settings.workspace)
    results = run_jobs(storage, "records", plan_records(storage, settings))
    counts = {result.manifest.name: result.manifest.counts for result in results}
    assert counts["field-observations"].written == 0
    assert counts["field-observations"].dropped == {"license_not_allowed": 782}
    assert counts["eol"].written == 623


def test_another_place_of_the_same_archive_changes_nothing(sample_server: SampleServer, tmp_path: Path) -> None:
    settings = sample_settings(sample_server, tmp_path / "workspace")
    storage = open_workspace(settings.workspace)
    run_jobs(storage, "records", plan_records(storage, settings))
    copy = tmp_path / "elsewhere.zip"
    shutil.copy(sample_path("field-observations"), copy)
    moved = (settings.sources[0].model_copy(update={"path": str(copy)}), settings.sources[1])
    again = run_jobs(storage, "records", plan_records(storage, settings.model_copy(update={"sources": moved})))
    assert all(result.reused for result in again)


def test_a_repeated_media_row_is_dropped_by_name(sample_server: SampleServer, tmp_path: Path) -> None:
    with zipfile.ZipFile(DWCA.path) as archive:
        archive.extractall(tmp_path / "archive")
    table = tmp_path / "archive" / "multimedia.txt"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, lines[-1]]) + "\n")
    settings = sample_settings(sample_server, tmp_path / "workspace")
    sources = (settings.sources[0].model_copy(update={"path": str(tmp_path / "archive")}),)
    storage = open_workspace(settings.workspace)
    [result] = run_jobs(storage, "records", plan_records(storage, settings.model_copy(update={"sources": sources})))
    assert (result.manifest.counts.read, result.manifest.counts.dropped) == (783, {"record_repeated": 1})


def test_identity_rests_on_source_id_and_url_alone() -> None:
    record = next(item for item in read(DWCA) if isinstance(item, Record))
    assert replace(record, title="other", scientific_name="other").id == record.id
    assert replace(record, media_url="http://other").id != record.id
    assert replace(record, scientific_name="other").lineage_id != record.lineage_id
