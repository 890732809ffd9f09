"""Inputs of the kinds that providers publish, in `cases/` or written here, with the records that a person would read from them."""

from __future__ import annotations

import gzip
import json
import shutil
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioclip.errors import ArchiveError
from bioclip.records import Record
from bioclip.settings import SourceSettings
from bioclip.sources import Dropped, Noted
from bioclip.sources.parsing.columns import parse_degrees, records_columns
from bioclip.sources.parsing.media_kinds import is_still_image, media_format_of
from bioclip.sources.parsing.media_urls import read_addresses
from tests.sources.contract import drops, photos, read, records, write_tar

CASES = Path(__file__).parent / "cases"
TERMS = {
    "dc": "http://purl.org/dc/terms/",
    "dwc": "http://rs.tdwg.org/dwc/terms/",
    "ac": "http://rs.tdwg.org/ac/terms/",
    "xmp": "http://ns.adobe.com/xap/1.0/rights/",
}
MULTIMEDIA, AUDUBON = "http://rs.gbif.org/terms/1.0/Multimedia", "http://rs.tdwg.org/ac/terms/Multimedia"


def source(path: Path, kind: str = "dwca", **options: str) -> SourceSettings:
    return SourceSettings(name="museum", format=kind, path=str(path), options=options)


def case(name: str) -> SourceSettings:
    return source(CASES / name, "dwca" if name.startswith("dwca") else "table")


def urls(given: SourceSettings) -> list[tuple[str, str]]:
    return [(record.source_id, record.media_url) for record in records(given)]


def notes(given: SourceSettings) -> dict[str, int]:
    return {item.name: item.count for item in read(given) if isinstance(item, Noted)}


def table_xml(tag: str, row_type: str, file: str, terms: list[str], attributes: str = "") -> str:
    fields = "".join(f'<field index="{place}" term="{TERMS[t.split(":")[0]]}{t.split(":")[1]}"/>' for place, t in enumerate(terms, 1))
    identifier = "id" if tag == "core" else "coreid"
    return (
        f'<{tag} rowType="{row_type}" fieldsTerminatedBy="\\t" fieldsEnclosedBy="" ignoreHeaderLines="1" {attributes}>'
        f'<files><location>{file}</location></files><{identifier} index="0"/>{fields}</{tag}>'
    )


def archive(folder: Path, media: dict[str, tuple[str, list[str], str]], core: str = "", core_terms: list[str] | None = None) -> Path:
    """A folder with a core of two occurrences and tables of media: file -> (row type, terms, rows)."""
    folder.mkdir(exist_ok=True)
    names = core_terms or ["dwc:scientificName"]
    parts = [table_xml("core", TERMS["dwc"] + "Occurrence", "occ.txt", names)]
    parts += [table_xml("extension", row_type, name, terms) for name, (row_type, terms, _) in media.items()]
    (folder / "meta.xml").write_text(f'<archive xmlns="http://rs.tdwg.org/dwc/text/">{"".join(parts)}</archive>')
    (folder / "occ.txt").write_text("id\t" + "\t".join(names) + "\n" + (core or "1\tApis mellifera\n2\tBombus terrestris\n"))
    for name, (_, terms, rows) in media.items():
        (folder / name).write_text("c\t" + "\t".join(terms) + "\n" + rows)
    return folder


class TestMediaOfDarwinCore:
    def test_the_access_address_goes_before_an_identifier_that_is_none(self) -> None:
        assert urls(case("dwca-audubon-identifier")) == [
            ("1", "http://e.org/1.jpg"),
            ("2", "http://e.org/2.jpg"),
            ("2", "http://e.org/3.jpg"),
        ]

    def test_every_media_table_is_read(self) -> None:
        found = urls(case("dwca-two-media-tables"))
        assert sorted(found) == [("1", "http://e.org/1.jpg"), ("1", "http://e.org/1b.jpg"), ("2", "http://e.org/2.jpg")]

    def test_the_licence_of_the_media_is_read_and_further_columns_are_kept(self) -> None:
        [record] = records(case("dwca-media-rights"))
        assert (record.license, record.rights_holder) == ("CC-BY-4.0", "Museum")
        assert record.verbatim["created"] == "2020-01-02"
        assert record.verbatim["description"] == "lateral"
        assert record.verbatim["rights"] == "(c) Museum"

    @pytest.mark.parametrize("term", ["dc:license", "dc:rights", "xmp:UsageTerms", "xmp:WebStatement"])
    def test_a_licence_is_found_under_each_of_its_terms(self, term: str, tmp_path: Path) -> None:
        media = {"m.txt": (AUDUBON, ["ac:accessURI", term], "1\thttp://e.org/1.jpg\thttp://creativecommons.org/licenses/by-nc/4.0/\n")}
        assert records(source(archive(tmp_path / "a", media)))[0].license == "CC-BY-NC-4.0"

    def test_each_address_in_a_cell_is_a_record_and_placeholders_are_none(self) -> None:
        found = [url.removeprefix("http://e.org/") for _, url in urls(case("dwca-several-urls"))]
        assert sorted(found, key=lambda name: int(name.split(".")[0])) == [*(f"{n}.jpg" for n in range(1, 14) if n != 7), "14.jpg?a=1&b=2"]
        assert drops(case("dwca-several-urls")) == {"no_media_url": 4}, "a page is no address of an image, even where it ends like one"

    def test_associated_media_are_read_where_there_is_no_media_row(self, tmp_path: Path) -> None:
        core = "1\tApis\thttp://e.org/a.jpg | http://e.org/b.jpg\n2\tBombus\thttp://e.org/c.jpg\n3\tVespa\t\n"
        media = {"m.txt": (MULTIMEDIA, ["dc:identifier"], "2\thttp://e.org/m.jpg\n")}
        for tables in (media, {}):
            given = source(archive(tmp_path / str(len(tables)), tables, core, ["dwc:scientificName", "dwc:associatedMedia"]))
            own = [("2", "http://e.org/m.jpg")] if tables else [("2", "http://e.org/c.jpg")]
            assert sorted(urls(given)) == [("1", "http://e.org/a.jpg"), ("1", "http://e.org/b.jpg"), *own]
            assert notes(given) == {"occurrence_without_media": 1}
            assert [record.media_index for record in records(given) if record.source_id == "1"] == [0, 1]
            shutil.rmtree(tmp_path / str(len(tables)))

    def test_values_and_ids_are_trimmed(self, tmp_path: Path) -> None:
        path = archive(tmp_path / "a", {"m.txt": (MULTIMEDIA, ["dc:identifier"], " 1\t http://e.org/1.jpg \n")}, "1 \t Apis mellifera \n")
        [record] = records(source(path))
        assert (record.source_id, record.scientific_name) == ("1", "Apis mellifera")

    def test_a_file_beside_the_archive_or_in_it_is_a_local_address(self, tmp_path: Path) -> None:
        rows = "1\tphotos/1.jpg\n1\tabsent.jpg\n2\t00017\n"
        path = archive(tmp_path / "a", {"m.txt": (MULTIMEDIA, ["dc:identifier"], rows)})
        (path / "photos").mkdir()
        (path / "photos" / "1.jpg").write_bytes(photos(1)[0][1])
        assert urls(source(path)) == [("1", "local:photos/1.jpg")]
        assert drops(source(path)) == {"no_media_url": 2}

    def test_coordinates_that_cannot_be_parsed_stay_in_verbatim(self, tmp_path: Path) -> None:
        core = "1\tApis\t45,5\t12° 30' E\n2\tBombus\tnorth of here\t999\n"
        terms = ["dwc:scientificName", "dwc:decimalLatitude", "dwc:decimalLongitude"]
        media = {"m.txt": (MULTIMEDIA, ["dc:identifier"], "1\thttp://e.org/1.jpg\n2\thttp://e.org/2.jpg\n")}
        first, second = records(source(archive(tmp_path / "a", media, core, terms)))
        assert (first.latitude, first.longitude, dict(first.verbatim)) == (45.5, 12.5, {})
        assert (second.latitude, second.longitude) == (None, None)
        assert second.verbatim == {"decimalLatitude": "north of here", "decimalLongitude": "999"}

    @pytest.mark.parametrize("place", ["./m.txt", ".\\m.txt", "m.txt.gz", "M.TXT"])
    def test_a_location_is_found_however_it_is_written(self, place: str, tmp_path: Path) -> None:
        path = archive(tmp_path / "a", {"m.txt": (MULTIMEDIA, ["dc:identifier"], "1\thttp://e.org/1.jpg\n")})
        meta = path / "meta.xml"
        meta.write_text(meta.read_text().replace("<location>m.txt", f"<location>{place}"))
        if place.endswith(".gz"):
            (path / "m.txt.gz").write_bytes(gzip.compress((path / "m.txt").read_bytes()))
            (path / "m.txt").unlink()
        assert urls(source(path)) == [("1", "http://e.org/1.jpg")]

    @pytest.mark.parametrize("prefix", ["", "a/b/", "top\\sub\\"])
    def test_a_zip_may_have_backslashes_and_folders(self, prefix: str, tmp_path: Path) -> None:
        path = archive(tmp_path / "a", {"m.txt": (MULTIMEDIA, ["dc:identifier"], "1\thttp://e.org/1.jpg\n")})
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as zipped:
            for file in path.iterdir():
                info = zipfile.ZipInfo("placeholder")
                info.filename = prefix + file.name
                zipped.writestr(info, file.read_bytes())
        assert urls(source(tmp_path / "x.zip")) == [("1", "http://e.org/1.jpg")]


class TestDamagedText:
    def test_stray_quotes_cost_their_own_rows(self) -> None:
        given = case("dwca-stray-quote")
        assert [source_id for source_id, _ in urls(given)] == ["1", "2", "4", "6"]
        assert notes(given)["row_damaged"] == 2
        places = [place for item in read(given) if isinstance(item, Noted) for place in item.places]
        assert [place.split(": ")[0].rpartition(", ")[2] for place in places] == ["line 4", "line 6"]
        assert urls(case("table-stray-quote.csv")) == [("3", "http://e.org/3.jpg")]
        assert drops(case("table-stray-quote.csv")) == {"row_damaged": 2}

    def test_line_ends_are_those_of_the_file(self) -> None:
        assert urls(case("dwca-header-lf-data-crlf")) == [("1", "http://e.org/1.jpg"), ("2", "http://e.org/2.jpg")]
        assert urls(case("table-cr-line-ends.tsv")) == [("1", "http://e.org/1.jpg"), ("2", "http://e.org/2.jpg")]

    def test_a_ragged_line_is_dropped_and_too_many_refuse_the_source(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("media_url,name\n" + "http://e.org/1.jpg,A\n" * 99 + "http://e.org/2.jpg\n")
        given = source(tmp_path / "a.csv", "table")
        assert drops(given) == {"row_ragged": 1}
        with pytest.raises(ArchiveError, match=r"a\.csv, line 101: 1 fields, but the header has 2; 1 of 100 rows"):
            records(given.model_copy(update={"max_damaged_share": 0.001}))


class TestNumbersAndText:
    def test_a_crop_beyond_what_a_table_holds_is_dropped_by_name(self) -> None:
        assert drops(case("table-crop-beyond-int32.csv")) == {"crop_out_of_range": 1}

    def test_a_media_index_beyond_what_a_table_holds_is_noted_and_kept_as_text(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("media_url,media_index\nhttp://e.org/1.jpg,99999999999\n")
        given = source(tmp_path / "a.csv", "table")
        assert (records(given)[0].media_index, records(given)[0].verbatim) == (0, {"media_index": "99999999999"})
        assert notes(given) == {"media_index_out_of_range": 1}

    @settings(deadline=None)
    @given(st.integers(-(10**25), 10**25), st.sampled_from(["crop_x", "crop_width", "media_index"]))
    def test_any_whole_number_becomes_a_record_or_a_reason(self, number: int, field: str) -> None:
        from bioclip.sources.parsing.column_map import ColumnMap
        from bioclip.sources.parsing.defaults import MediaBase

        given = source(CASES, "table")
        made = [*ColumnMap(given).records({"media_url": "http://e.org/1.jpg", field: str(number)}, MediaBase(given), "here")]
        records_columns([item for item in made if isinstance(item, Record)])
        assert any(isinstance(item, Record | Dropped) for item in made)

    def test_half_a_surrogate_pair_becomes_a_replacement_character(self, tmp_path: Path) -> None:
        [record] = records(case("json-half-surrogate-in-list.jsonl"))
        assert "\ufffd" in record.verbatim["tags"]
        assert records_columns([record]).num_rows == 1
        path = tmp_path / "x.jsonl"
        path.write_text(json.dumps({"media_url": "http://e.org/1.jpg", "a\ud83d": {"b": ["\udc00"]}, "scientific_name": "x\ud83d"}))
        assert records_columns(records(source(path, "table"))).num_rows == 1

    @settings(deadline=None)
    @given(st.text(st.characters(), max_size=6))
    def test_any_text_enters_a_table(self, text: str) -> None:
        table = records_columns([Record("s", text, "http://e.org/1.jpg", title=text, verbatim={text: text})])
        table["title"].to_pylist()


class TestParquet:
    def test_binary_text_is_text(self) -> None:
        [record] = records(case("table-binary-url.parquet"))
        assert (record.media_url, record.scientific_name) == ("http://e.org/1.jpg", "Apis")

    def test_large_strings_lists_dictionaries_and_whole_floats_are_read(self, tmp_path: Path) -> None:
        columns = {
            "media_url": pa.array(["http://e.org/1.jpg"], pa.large_string()),
            "scientific_name": pa.array(["Apis"]).dictionary_encode(),
            "crop_x": pa.array([1.0]), "crop_y": pa.array([2.0]), "crop_width": pa.array([30.0]), "crop_height": pa.array([40.0]),
            "media_index": pa.array([float("nan")]),
            "tags": pa.array([["a", "b"]], pa.large_list(pa.large_string())),
        }  # fmt: skip
        pq.write_table(pa.table(columns), tmp_path / "a.parquet")
        [record] = records(source(tmp_path / "a.parquet", "table"))
        assert (record.media_url, record.scientific_name, record.crop_x, record.crop_height) == ("http://e.org/1.jpg", "Apis", 1, 40)
        assert record.verbatim == {"tags": '["a", "b"]'}

    def test_each_element_of_a_large_list_is_a_record(self, tmp_path: Path) -> None:
        kind = pa.large_list(pa.struct([("url", pa.string())]))
        pq.write_table(
            pa.table({"images": pa.array([[{"url": "http://e.org/1.jpg"}, {"url": "http://e.org/2.jpg"}]], kind)}), tmp_path / "a.parquet"
        )
        given = source(tmp_path / "a.parquet", "table", map="media_url=images.url", each="images")
        assert [record.media_url for record in records(given)] == ["http://e.org/1.jpg", "http://e.org/2.jpg"]


class TestWebDatasetKeys:
    NAMES = ("Panthera leo", "Quercus robur", "Amanita muscaria")

    def make(self, path: Path) -> Path:
        members: dict[str, bytes] = {}
        for place, (name, (_, data)) in enumerate(zip(self.NAMES, photos(3), strict=True)):
            members[f"IMG_2024.05.{place:02d}.jpg"] = data
            members[f"IMG_2024.05.{place:02d}.json"] = json.dumps({"species": name}).encode()
        return write_tar(path, members)

    @pytest.mark.parametrize("options", [{}, {"key_ends_at": "last"}])
    def test_each_picture_keeps_its_own_label_where_keys_have_dots(self, options: dict[str, str], tmp_path: Path) -> None:
        found = records(source(self.make(tmp_path / "x.tar"), "webdataset", **options))
        assert [record.scientific_name for record in found] == list(self.NAMES)
        assert len({record.source_id for record in found}) == 3

    @pytest.mark.parametrize("options", [{}, {"key_ends_at": "last"}])
    @pytest.mark.parametrize("mask", ["k.seg.png", "k.mask.png", "k.depth.jpg"])
    def test_a_mask_is_no_second_photograph(self, mask: str, options: dict[str, str], tmp_path: Path) -> None:
        path = write_tar(tmp_path / "x.tar", {"k.jpg": photos(1)[0][1], "k.txt": b"Apis", mask: b"png"})
        given = source(path, "webdataset", **options)
        assert [record.media_url for record in records(given)] == ["local:x.tar!/k.jpg"]
        assert drops(given)["not_a_photograph"] == 1

    def test_a_name_that_is_no_utf8_keeps_its_picture(self, tmp_path: Path) -> None:
        path = write_tar(tmp_path / "x.tar", {"caf\udce9.jpg": photos(1)[0][1]})
        found = records(source(path, "webdataset"))
        assert [record.media_url for record in found] == ["local:x.tar!/caf%E9.jpg"]
        assert records_columns(found).num_rows == 1


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("http://a.org/1.jpg|http://a.org/2.jpg", 2), ("http://a.org/1.jpg; http://a.org/2.jpg;", 2), ("http://a.org/1,2.jpg", 1),
        ('["http://a.org/1.jpg", "http://a.org/2.jpg"]', 2), ("['http://a.org/1.jpg', 'http://a.org/2.jpg']", 2),
        ('[{"url": "http://a.org/1.jpg"}]', 1), ("http://a.org/1.jpg\nhttp://a.org/2.jpg", 2), ("1.jpg;2.jpg", 2), ("a;b", 1),
        ("NULL", 0), ("\\N", 0), (" na ", 0), ("", 0), ("[]", 0), ("https://web.archive.org/web/2020/http://a.org/1.jpg", 1),
    ],
)  # fmt: skip
def test_the_addresses_in_a_cell_are_counted_as_a_person_counts_them(cell: str, found: int) -> None:
    assert len(read_addresses(cell)) == found


@pytest.mark.parametrize(
    ("kind", "media_format", "is_still"),
    [
        ("StillImage", "image/jpeg", True), ("Still Image", "", True), ("dcmitype:StillImage", "", True),
        ("image/jpeg", "StillImage", True),
        ("http://purl.org/dc/dcmitype/StillImage", "", True), ("", "", True), ("", "video/mp4", False), ("MovingImage", "", False),
        ("Sound", "image/jpeg", False), ("specimen photo", "image/png", True), ("something", "", False),
    ],
)  # fmt: skip
def test_type_and_format_tell_a_still_image_however_they_are_spelled(kind: str, media_format: str, is_still: bool) -> None:
    assert is_still_image(kind, media_format) is is_still
    assert media_format_of("image/jpeg", "StillImage") == "image/jpeg"


@pytest.mark.parametrize(
    ("text", "degrees"),
    [
        ("45.5", 45.5), ("45,5", 45.5), ("45.5°", 45.5), ("45.5° S", -45.5), ("-12,25°", -12.25), ("W 12.5", -12.5), ("12°30'00\"N", 12.5),
        ("12º 30′ O", -12.5), ("45.5 north", None), ("1,234.5", None), ("12°75'", None), ("", None),
    ],
)  # fmt: skip
def test_degrees_are_read_as_they_are_written(text: str, degrees: float | None) -> None:
    assert parse_degrees(text, 180.0) == degrees


def test_a_table_without_a_row_is_refused_with_its_path(tmp_path: Path) -> None:
    from bioclip.partitions import run_partition
    from bioclip.settings import PipelineSettings, WorkspaceSettings
    from bioclip.sources.stage import plan_records
    from bioclip.storage import open_workspace

    (tmp_path / "a.csv").write_text("media_url,name\n")
    whole = PipelineSettings(workspace=WorkspaceSettings(uri=str(tmp_path / "w")), sources=(source(tmp_path / "a.csv", "table"),))
    [job] = plan_records(open_workspace(whole.workspace), whole)
    with pytest.raises(ArchiveError, match=r"source 'museum': '.*a\.csv' has no rows"):
        run_partition(job)
