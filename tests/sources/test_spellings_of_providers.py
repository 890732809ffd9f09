"""The same content written in the ways that providers write it: encodings, delimiters, row types, licence columns, kinds of media."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bioclip.errors import ArchiveError
from bioclip.sources.parsing.media_kinds import is_still_image
from tests.sources.contract import drops, only_record, records, write_json
from tests.sources.test_found_in_the_field import AUDUBON, MULTIMEDIA, archive, source, urls

ROWS = "media_url{0}scientific_name\nhttp://e.org/1.jpg{0}Käfer, gross\nhttp://e.org/2.jpg{0}Apis\n"


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt"])
@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_table_is_divided_where_its_first_line_is(name: str, delimiter: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(ROWS.format(delimiter).encode(encoding))
    assert [record.scientific_name for record in records(source(tmp_path / name, "table"))] == ["Käfer, gross", "Apis"]


def test_an_index_column_without_a_name_is_no_box(tmp_path: Path) -> None:
    """As pandas writes it: its first values are 0 and 1, as those of relative boxes may be."""
    (tmp_path / "a.csv").write_text(",media_url\n0,http://e.org/1.jpg\n1,http://e.org/2.jpg\n")
    assert [record.crop_x for record in records(source(tmp_path / "a.csv", "table"))] == [None, None]


def test_a_damaged_line_of_json_costs_itself(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"media_url": "http://e.org/1.jpg"}\n{bad\n[]\n{"media_url": "http://e.org/2.jpg"}\n')
    assert len(records(source(tmp_path / "a.jsonl", "table"))) == 2
    assert drops(source(tmp_path / "a.jsonl", "table")) == {"row_damaged": 2}


class TestParquetValues:
    def test_values_that_python_cannot_hold_are_text(self, tmp_path: Path) -> None:
        broken = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xe9x")])
        columns = {"media_url": pa.array(["http://e.org/1.jpg"]), "title": broken, "event_date": pa.array([2**58], pa.timestamp("us"))}
        pq.write_table(pa.table(columns), tmp_path / "a.parquet")
        record = only_record(source(tmp_path / "a.parquet", "table"))
        assert record.title == "\ufffdx"
        assert record.event_date.startswith("11103-")

    def test_a_column_that_occurs_twice_is_named(self, tmp_path: Path) -> None:
        pq.write_table(pa.Table.from_arrays([pa.array(["x"])] * 2, names=["media_url"] * 2), tmp_path / "a.parquet")
        with pytest.raises(ArchiveError, match="column 'media_url' occurs twice"):
            records(source(tmp_path / "a.parquet", "table"))


class TestMeta:
    @pytest.mark.parametrize(
        ("written", "replacement"),
        [
            ('="http://rs', '="https://rs'),
            ("1.0/Multimedia", "1.0/multimedia"),
            ('ignoreHeaderLines="1"', 'ignoreHeaderLines=" 1 "'),
            ('fieldsTerminatedBy="\\t"', 'fieldsTerminatedBy="\\u0009"'),
            ('fieldsTerminatedBy="\\t"', 'fieldsTerminatedBy="\\x09"'),
        ],
    )
    def test_a_meta_xml_is_read_in_other_spellings(self, written: str, replacement: str, tmp_path: Path) -> None:
        path = archive(tmp_path / "a", {"m.txt": (MULTIMEDIA, ["dc:identifier"], "1\thttp://e.org/1.jpg\n")})
        assert written in (path / "meta.xml").read_text()
        (path / "meta.xml").write_text((path / "meta.xml").read_text().replace(written, replacement))
        assert urls(source(path)) == [("1", "http://e.org/1.jpg")]

    def test_a_byte_order_mark_decides_the_encoding(self, tmp_path: Path) -> None:
        path = archive(tmp_path / "a", {"m.txt": (MULTIMEDIA, ["dc:identifier"], "1\thttp://e.org/1.jpg\n")})
        for name in ("m.txt", "occ.txt"):
            (path / name).write_bytes((path / name).read_text().encode("utf-16"))
        assert urls(source(path)) == [("1", "http://e.org/1.jpg")]


class TestLicenceColumns:
    @pytest.mark.parametrize(
        ("cells", "identifier"),
        [
            ("CC BY 4.0\tCC BY-NC 4.0\t", "CC-BY-NC-4.0"),
            ("CC BY-NC 4.0\t\tCC BY 4.0", "CC-BY-NC-4.0"),
            ("CC BY 4.0\t\tall rights reserved", "LicenseRef-all-rights-reserved"),
            ("CC BY 4.0\t\t© the museum", "CC-BY-4.0"),
            ("\t\tCC BY 4.0", "CC-BY-4.0"),
            ("CC BY 4.0\tCC BY 4.0\tCC BY 4.0", "CC-BY-4.0"),
        ],
    )
    def test_columns_that_differ_give_the_strictest(self, cells: str, identifier: str, tmp_path: Path) -> None:
        terms = ["ac:accessURI", "dc:license", "xmp:UsageTerms", "dc:rights"]
        path = archive(tmp_path / "a", {"m.txt": (AUDUBON, terms, f"1\thttp://e.org/1.jpg\t{cells}\n")})
        assert only_record(source(path)).license == identifier

    @pytest.mark.parametrize(("stated", "identifier"), [(3, "CC-BY-NC-2.0"), (9, "LicenseRef-other"), (None, "CC0-1.0")])
    @pytest.mark.parametrize("kind", ["coco_camera_traps", "inat21"])
    def test_an_image_of_coco_has_the_licence_that_it_refers_to(
        self, kind: str, stated: int | None, identifier: str, tmp_path: Path
    ) -> None:
        image = {"id": 1, "file_name": "http://e.org/1.jpg"} | ({"license": stated} if stated else {})
        document = {
            "images": [image],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1}, {"id": 2, "category_id": 1}],
            "categories": [{"id": 1, "name": "Apis"}],
            "licenses": [{"id": 3, "url": "http://creativecommons.org/licenses/by-nc/2.0/"}],
        }
        given = source(write_json(tmp_path / "a.json", document), kind, license="CC0")
        record = only_record(given)
        assert (record.media_url, record.license) == ("http://e.org/1.jpg", identifier)
        assert drops(given) == {"annotation_without_image": 1}


def test_two_boxes_without_ids_are_two_records(tmp_path: Path) -> None:
    boxes = [{"image_id": 1, "category_id": 1, "bbox": [left, 2, 30, 40]} for left in (1, 50)]
    document = {"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": boxes, "categories": [{"id": 1, "name": "Apis"}]}
    found = records(source(write_json(tmp_path / "a.json", document), "coco_camera_traps", images="http://e.org"))
    assert len({record.id for record in found}) == 2


@pytest.mark.parametrize(
    ("kind", "media_format", "address", "is_image"),
    [
        ("", "application/pdf", "http://e.org/1", False),
        ("", "text/html", "http://e.org/1", False),
        ("", "application/octet-stream", "http://e.org/1", True),
        ("", "", "http://e.org/1.mp3", False),
        ("", "", "http://e.org/get?id=1", True),
        ("StillImage", "application/octet-stream", "http://e.org/1.pdf", True),
    ],
)
def test_a_medium_that_is_plainly_another_is_no_image(kind: str, media_format: str, address: str, is_image: bool) -> None:
    assert is_still_image(kind, media_format, address) is is_image


def test_a_fathomnet_image_without_boxes_costs_itself(tmp_path: Path) -> None:
    box = {"uuid": "u", "concept": "Apis", "x": 1, "y": 2, "width": 30, "height": 40}
    images = [{"uuid": "a", "url": "http://e.org/1.png", "boundingBoxes": [box]}, {"uuid": "b", "url": "http://e.org/2.png"}]
    (tmp_path / "a.json").write_text(json.dumps(images))
    assert drops(source(tmp_path / "a.json", "fathomnet")) == {"image_without_boxes": 1}
