from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bioclip.darwin_core import FieldLayout, TableLayout, open_archive, parse_meta, read_rows
from bioclip.errors import ArchiveError

CORE = """<core rowType="http://rs.tdwg.org/dwc/terms/Occurrence" {attributes}>
<files><location>{location}</location></files>{identifier}{fields}</core>"""
FIELDS = '<field index="1" term="http://rs.tdwg.org/dwc/terms/country"/><field index="2" term="dwc:locality" default="nowhere"/>'
DWC = "http://rs.tdwg.org/dwc/terms/"


def meta(core: str = "", extension: str = "", **parts: str) -> bytes:
    given = {"attributes": 'fieldsTerminatedBy="\\t"', "location": "data.txt", "identifier": '<id index="0"/>', "fields": FIELDS, **parts}
    return (
        f'<archive xmlns="http://rs.tdwg.org/dwc/text/" metadata="eml.xml">\n{core or CORE.format(**given)}{extension}</archive>'.encode()
    )


def table(**changes) -> TableLayout:
    values = {
        "row_type": f"{DWC}Occurrence",
        "files": ("data.txt",),
        "fields": {"country": FieldLayout(1, None), "locality": FieldLayout(2, None)},
        "id_index": 0,
        "fields_terminated_by": "\t",
        "fields_enclosed_by": "",
        **changes,
    }
    return TableLayout(**values)


def rows(data: bytes, **changes) -> list[tuple[str, ...]]:
    return [tuple(row.values()) for row in read_rows(io.BytesIO(data), table(**changes), "data.txt")]


def test_a_layout_has_the_guides_defaults_and_unescapes_literals() -> None:
    core = parse_meta(meta(), "meta.xml").core
    assert (core.fields_terminated_by, core.lines_terminated_by, core.fields_enclosed_by) == ("\t", "\n", '"')
    assert (core.encoding, core.ignore_header_lines, core.kind, core.id_index) == ("utf-8", 0, "Occurrence", 0)
    assert core.fields == {"country": FieldLayout(1, None), "locality": FieldLayout(2, "nowhere")}
    bare = parse_meta(meta(attributes=""), "meta.xml").core
    assert bare.fields_terminated_by == ","


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_meta_xml_is_read_in_any_unicode_encoding(encoding: str) -> None:
    assert parse_meta(meta().decode().encode(encoding), "meta.xml").metadata == "eml.xml"


def test_two_terms_of_one_local_name_are_both_kept() -> None:
    fields = '<field index="1" term="http://purl.org/dc/terms/type"/><field index="2" term="http://purl.org/dc/elements/1.1/type"/>'
    assert list(parse_meta(meta(fields=fields), "meta.xml").core.fields) == ["type", "http://purl.org/dc/elements/1.1/type"]


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (b"<archive>\n<core>", r"meta\.xml line 2: not well-formed XML"),
        (b"<eml/>", r"meta\.xml line 1: an <archive> with exactly one <core> is required; found <eml> with 0"),
        (b'<!DOCTYPE archive [<!ENTITY a "b">]><archive/>', "document type declaration is not allowed"),
        (meta(location=" "), r"line 2: <core> names no file"),
        (meta(attributes='encoding="klingon"'), "encoding 'klingon' is unknown"),
        (meta(attributes='encoding="hex"'), "encoding 'hex' is unknown"),
        (meta(attributes='ignoreHeaderLines="one"'), "ignoreHeaderLines is 'one'; it must be a whole number"),
        (meta(attributes='fieldsTerminatedBy="||"'), "enclosed fields allow one character each"),
        (meta(attributes='fieldsTerminatedBy=""'), "must not be empty"),
        (meta(fields='\n<field index="-1" term="a"/>'), r"line 4: index of <field> is '-1'"),
        (meta(fields='<field index="1"/>'), "<field> has no term"),
        (meta(extension="<extension><files><location>x</location></files></extension>"), "<extension> needs <coreid"),
        (meta(identifier="", extension="<extension/>"), "<core> needs <id"),
    ],
)
def test_a_malformed_meta_xml_is_named_with_line_and_rule(xml: bytes, message: str) -> None:
    with pytest.raises(ArchiveError, match=message):
        parse_meta(xml, "meta.xml")


def test_plain_fields_keep_their_quotes_and_enclosed_ones_lose_them() -> None:
    data = b'1\t"Peru"\t5" deep\n2\t"a\tb\n'
    assert rows(data) == [("1", '"Peru"', '5" deep'), ("2", '"a', "b")]
    quoted = b'1,"Peru, North","a ""b""\nc"\n'
    assert rows(quoted, fields_terminated_by=",", fields_enclosed_by='"') == [("1", "Peru, North", 'a "b"\nc')]


def test_short_lines_are_filled_long_ones_cut_and_blank_ones_skipped() -> None:
    assert rows(b"1\n\n2\ta\tb\tc\td\n\r\n") == [("1", "", ""), ("2", "a", "b")]


def test_defaults_stand_in_for_empty_values_and_for_columns_that_are_not_there() -> None:
    fields = {"country": FieldLayout(1, "Peru"), "kingdom": FieldLayout(None, "Fungi"), "rights": FieldLayout(None, None)}
    assert rows(b"1\t\n2\tChile\n", fields=fields) == [("1", "Peru", "Fungi", ""), ("2", "Chile", "Fungi", "")]


@pytest.mark.parametrize(
    ("data", "changes"),
    [
        ("1\tCôte\tÉ\n".encode("cp1252"), {"encoding": "cp1252"}),
        ("\ufeff1\tCôte\tÉ\n".encode(), {}),
        ("\ufeff1\tCôte\tÉ\n".encode(), {"encoding": "cp1252"}),
        ("1\tCôte\tÉ\n".encode("utf-16"), {"encoding": "utf-16"}),
        ("head\ner\n1\tCôte\tÉ".encode(), {"ignore_header_lines": 2}),
        ("1\tCôte\tÉ\r\n".encode(), {}),
        ("1\tCôte\tÉ\n".encode(), {"lines_terminated_by": "\r\n"}),
        ("1\tCôte\tÉ\r".encode(), {"lines_terminated_by": "\r"}),
        ("1\tCôte\tÉ~~".encode(), {"lines_terminated_by": "~~"}),
        ("1::Côte::É\n".encode(), {"fields_terminated_by": "::"}),
        ("1;'Côte';É\r\n".encode(), {"fields_terminated_by": ";", "fields_enclosed_by": "'", "lines_terminated_by": "\r\n"}),
    ],
)
def test_encodings_and_terminators_of_real_archives_read_the_same(data: bytes, changes: dict[str, object]) -> None:
    assert rows(data, **changes) == [("1", "Côte", "É")]


def test_bytes_outside_the_encoding_stay_visible_and_lose_no_row() -> None:
    assert rows(b"1\tC\xf4te\tx\n2\ta\tb\n") == [("1", "C\ufffdte", "x"), ("2", "a", "b")]


def test_a_lone_carriage_return_is_part_of_a_value() -> None:
    assert rows(b"1\ta\rb\tc\n") == [("1", "a\rb", "c")]


def test_a_quote_that_is_never_closed_costs_its_own_row_alone() -> None:
    data = b'1,a,b\n2,"a,b\n3,c,d\n'
    assert rows(data, fields_terminated_by=",", fields_enclosed_by='"') == [("1", "a", "b"), ("3", "c", "d")]


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\t\r\n\ufeff\0", exclude_categories=["Zl", "Zp", "Cc", "Cs"]), max_size=8)


@given(st.lists(st.tuples(st.integers(1, 9).map(str), WORDS, WORDS), max_size=5))
def test_what_is_written_in_tabs_is_read_back(values: list[tuple[str, ...]]) -> None:
    assert rows("".join("\t".join(row) + "\n" for row in values).encode()) == values


@pytest.mark.parametrize("top", ["", "nested/"])
@pytest.mark.parametrize("is_zip", [True, False])
def test_an_archive_opens_from_zip_and_folder_with_or_without_a_top_folder(tmp_path: Path, top: str, is_zip: bool) -> None:
    files = {"meta.xml": meta(), "data.txt": b"1\tPeru\t\n", "eml.xml": b""}
    path = tmp_path / "archive"
    for name, data in files.items():
        if is_zip:
            with zipfile.ZipFile(path, "a") as archive:
                archive.writestr(top + name, data)
        else:
            (path / top).mkdir(parents=True, exist_ok=True)
            (path / top / name).write_bytes(data)
    with open_archive(path) as archive:
        assert list(archive.rows(archive.layout.core)) == [{"id": "1", "country": "Peru", "locality": "nowhere"}]


def test_extensions_are_joined_by_coreid(write_archive) -> None:
    extension = f"""<extension rowType="{DWC}Multimedia" fieldsEnclosedBy="">
    <files><location>a.csv</location><location>b.csv</location></files>
    <coreid index="1"/><field index="0" term="http://purl.org/dc/terms/identifier"/></extension>"""
    path = write_archive(meta__xml=meta(extension=extension), data__txt="1\n", a__csv="x,1\n", b__csv="y,1\n")
    with open_archive(path) as archive:
        (media,) = archive.layout.extensions_of("Multimedia")
        assert list(archive.rows(media)) == [{"coreid": "1", "identifier": "x"}, {"coreid": "1", "identifier": "y"}]


def test_an_archive_without_meta_xml_is_one_headed_table(write_archive) -> None:
    path = write_archive(data__csv='occurrenceID,scientificName\n"1","Aus, bus"\n', eml__xml="<eml/>")
    with open_archive(path) as archive:
        assert archive.layout.core.kind == "Occurrence"
        assert list(archive.rows(archive.layout.core)) == [{"id": "1", "occurrenceID": "1", "scientificName": "Aus, bus"}]
    with pytest.raises(ArchiveError, match=r"no meta\.xml and 2 tables"), open_archive(write_archive("b.zip", a__csv="a", b__csv="b")):
        pass


@pytest.mark.parametrize("name", ["../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:/evil.txt"])
def test_names_that_leave_the_archive_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"x")
    with pytest.raises(ArchiveError, match="only relative names without"), open_archive(path):
        pass
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "meta.xml").write_bytes(meta(location=name))
    with pytest.raises(ArchiveError, match="only relative names without"), open_archive(folder):
        pass


def test_missing_and_damaged_archives_are_named(tmp_path: Path, write_archive) -> None:
    with pytest.raises(ArchiveError, match=r"nowhere\.zip' does not exist"), open_archive(tmp_path / "nowhere.zip"):
        pass
    with (
        pytest.raises(ArchiveError, match=r"names the file 'data\.txt', which the archive does not hold"),
        open_archive(write_archive(meta__xml=meta())),
    ):
        pass
    path = write_archive("torn.zip", meta__xml=meta(), data__txt="1\tPeru\tLima\n" * 99)
    torn = path.read_bytes().replace(b"Lima", b"LIMA", 1)
    path.write_bytes(torn)
    with (
        open_archive(path) as archive,
        pytest.raises(ArchiveError, match=r"torn\.zip:data\.txt, line \d+: the rest of the file cannot be read"),
    ):
        list(archive.rows(archive.layout.core))
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(ArchiveError, match="neither a folder nor a readable zip file"), open_archive(tmp_path / "text.zip"):
        pass


@pytest.mark.parametrize("terminator", ["\n", "\r", "\r\n"])
def test_a_headed_table_without_meta_xml_may_end_its_lines_in_any_usual_way(tmp_path: Path, terminator: str) -> None:
    lines = ("taxonID\tscientificName", "1\tApis mellifera", "2\tBombus terrestris")
    (tmp_path / "taxa.txt").write_bytes(terminator.join(lines).encode())
    for path in (tmp_path, tmp_path / "taxa.txt"):
        with open_archive(path) as archive:
            found = [row["scientificName"] for row in archive.rows(archive.layout.core)]
        assert found == ["Apis mellifera", "Bombus terrestris"]


def test_a_tar_is_rejected_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "taxa.txt").write_text("taxonID\n1\n")
    with tarfile.open(tmp_path / "archive.zip", "w:gz") as tar:
        tar.add(tmp_path / "taxa.txt", "taxa.txt")
    with (
        pytest.raises(ArchiveError, match=r"archive\.zip' is a tar file; unpack it and name the folder"),
        open_archive(tmp_path / "archive.zip"),
    ):
        pass
