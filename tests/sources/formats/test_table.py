"""Tables of any provider, with a map of their columns."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bioclip.errors import ArchiveError, SettingsError
from bioclip.settings import SourceSettings
from tests.sources.contract import STATED, FormatContract, drops, only_record, records

MAP = "media_url=url,source_id=no,scientific_name=name,kingdom=realm,license=lic,rights_holder=who,latitude=lat"
COMMON = {"realm": "Plantae", "who": "Ann"}
ROWS = [
    {"no": "1", "url": "https://a.org/1.jpg", "name": "Malus domestica", "lic": "CC0", "lat": "12.5", "x": "q", **COMMON},
    {"no": "2", "url": "", "name": "Pyrus communis", "lic": "CC0", "lat": "", "x": "", **COMMON},
    {"no": "3", "url": "https://a.org/3.jpg", "name": 'Vitis "vinifera", L.', "lic": "C", "lat": "95", "x": "", **COMMON},
]


def table(path: Path, **options: str) -> SourceSettings:
    return SourceSettings(name="orchard", format="table", path=str(path), options=options)


def write_csv(path: Path) -> Path:
    lines = [",".join(ROWS[0])] + [",".join('"' + value.replace('"', '""') + '"' for value in row.values()) for row in ROWS]
    data = ("\ufeff" + "\r\n".join(lines) + "\r\n").encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


_BOXES = "media_url,crop_x,crop_y,crop_width,crop_height\n"


class TestTable(FormatContract):
    num_rows = 3

    @staticmethod
    def make(folder: Path) -> SourceSettings:
        return table(write_csv(folder / "labels.csv.gz"), map=MAP)

    def test_columns_go_where_the_map_says_and_the_rest_is_verbatim(self) -> None:
        apple, vine = records(self.source)
        assert (apple.source_id, apple.license, apple.latitude, apple.verbatim) == ("1", "CC0-1.0", 12.5, {"x": "q"})
        assert (vine.scientific_name, vine.license, vine.latitude) == ('Vitis "vinifera", L.', "LicenseRef-all-rights-reserved", None)
        assert drops(self.source) == {"no_media_url": 1}

    def test_every_kind_of_table_reads_the_same(self, tmp_path: Path) -> None:
        (tmp_path / "a.tsv").write_text("\n".join(["\t".join(ROWS[0]), *("\t".join(row.values()) for row in ROWS)]))
        (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in ROWS))
        (tmp_path / "a.json").write_text(json.dumps(ROWS))
        pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
        for name in ("a.tsv", "a.jsonl", "a.json", "a.parquet"):
            assert records(self.source.model_copy(update={"path": str(tmp_path / name)})) == records(self.source), name

    def test_a_folder_of_tables_is_read_in_order_of_name(self, tmp_path: Path) -> None:
        folder = tmp_path / "tables"
        folder.mkdir()
        for name in ("2.csv", "1.csv", "notes.md"):
            (folder / name).write_text(f"url,name\nhttps://a.org/{name}.jpg,Apis\n")
        source = table(folder, map="media_url=url,scientific_name=name")
        assert [record.media_url for record in records(source)] == ["https://a.org/1.csv.jpg", "https://a.org/2.csv.jpg"]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("media_url=url,colour=x", r"names the field 'colour'; known: basis_of_record, class, creator"),
            ("media_url", r"options\.map has 'media_url'; write field=column"),
            ("media_url=url,media_url=name", "names the field 'media_url' twice"),
        ],
    )
    def test_a_map_that_cannot_be_meant_is_refused(self, text: str, message: str) -> None:
        with pytest.raises(SettingsError, match=message):
            records(self.source.model_copy(update={"options": {"map": text}}))

    def test_a_mapped_column_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        for name in ("a.csv", "a.jsonl"):
            (tmp_path / name).write_text('{"url": "https://a.org"}\n' if name.endswith("l") else "url\nhttps://a.org\n")
            with pytest.raises(ArchiveError, match=r"a\.(csv, line 1|jsonl): column 'lic' is missing; options\.map names it"):
                records(table(tmp_path / name, map="media_url=url,license=lic"))

    @pytest.mark.parametrize(
        ("cells", "reason"),
        [("1,2,,", "box_malformed"), ("a,2,3,4", "box_malformed"), ("nan,2,3,4", "box_malformed"), ("1,2,-3,4", "box_empty")],
    )
    def test_a_box_that_is_none_costs_its_own_row(self, cells: str, reason: str, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text(f"{_BOXES}https://a.org/1,{cells}\nhttps://a.org/2,1,2,3,4\nhttps://a.org/3,,NA,,\n")
        assert [record.crop_x for record in records(table(tmp_path / "a.csv"))] == [1, None]
        assert drops(table(tmp_path / "a.csv")) == {reason: 1}

    def test_a_box_in_parts_of_pixels_is_rounded_outwards(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text(f"{_BOXES}https://a.org/1,1.5,2.5,10.2,20\n")
        record = only_record(table(tmp_path / "a.csv"))
        assert (record.crop_x, record.crop_y, record.crop_width, record.crop_height) == (1, 2, 11, 21)


def test_a_list_of_urls_needs_no_map(tmp_path: Path) -> None:
    (tmp_path / "urls.txt").write_text("https://a.org/1.jpg\n\nhttps://a.org/2.jpg\n")
    source = table(tmp_path / "urls.txt", **STATED)
    assert [(record.source_id, record.license) for record in records(source)] == [
        ("https://a.org/1.jpg", "CC-BY-4.0"), ("https://a.org/2.jpg", "CC-BY-4.0"),
    ]  # fmt: skip
    assert drops(source) == {"no_media_url": 1}


def test_nested_members_have_dotted_names_and_a_list_may_be_many_records(tmp_path: Path) -> None:
    row = {
        "name": "Agaricus arvensis",
        "images": [{"source_url": "https://m.org/1.jpg", "index": 0, "by": {"who": "Nathan"}}, {"index": 1}],
    }
    (tmp_path / "f.jsonl").write_text(json.dumps(row) + "\n")
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "f.parquet")
    for name in ("f.jsonl", "f.parquet"):
        mapped = "media_url=images.source_url,scientific_name=name,creator=images.by.who,media_index=images.index"
        source = table(tmp_path / name, map=mapped, each="images")
        record = only_record(source)
        assert (record.creator, record.media_index, record.scientific_name) == ("Nathan", 0, "Agaricus arvensis")
        assert drops(source) == {"no_media_url": 1}


def test_paths_lie_below_the_images_and_may_not_leave_them(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("media_url,class\n/iconic images/Äpple.jpg,Magnoliopsida\n../../etc/passwd,x\nC:\\x.jpg,x\n")
    source = table(tmp_path / "a.csv")
    assert only_record(source).media_url == "local:iconic%20images/%C3%84pple.jpg"
    assert only_record(source).class_ == "Magnoliopsida"
    assert drops(source) == {"unsafe_path": 2}
    remote = table(tmp_path / "a.csv", images="https://a.org/base/")
    assert only_record(remote).media_url == "https://a.org/base/iconic%20images/%C3%84pple.jpg"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"media_url,a\nx,2,3\n", r"a\.csv, line 2: 3 fields, but the header has 2; 1 of 1 rows are damaged"),
        ("a.csv", b"media_url,media_url\nx,1\n", r"a\.csv, line 1: column 'media_url' occurs twice"),
        ("a.csv", b"media_url,n\nx,caf\xe9\n", r"a\.csv, line 2: not UTF-8 text"),
        ("a.csv.gz", b"\x1f\x8b nothing", r"a\.csv\.gz, line 1: the rest of the file cannot be read"),
        ("a.jsonl", b'{"media_url"\n', r"a\.jsonl, line 1: not one JSON object per line in UTF-8.*1 of 1 rows are damaged"),
        ("a.jsonl", b"[1]\n", r"a\.jsonl, line 1: .*an object is required, found list"),
        ("a.json", b'[{"media_url": "https://a"}, 4]', r"a\.json: item \[1\]: an object is required, found int"),
        ("a.parquet", b"PAR1 no", r"a\.parquet, row 0: not readable as Parquet"),
        ("a.xlsx", b"PK", r"'\.xlsx' is not a table; known: \.csv"),
    ],
)
def test_a_damaged_table_names_file_line_and_rule(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ArchiveError, match=message):
        records(table(tmp_path / name))


def test_other_encodings_and_delimiters_are_options(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("media_url;creator\nhttps://a.org/1;Åsa\n".encode("cp1252"))
    assert only_record(table(tmp_path / "a.csv", delimiter=";", encoding="cp1252")).creator == "Åsa"
