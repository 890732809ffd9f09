"""Arrow batches of a table equal its rows for any dialect and any block size."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bioclip.darwin_core import FieldLayout, TableLayout, open_archive, read_rows, read_tables
from bioclip.delimited.damage import DamageLog
from bioclip.delimited.dialects import Dialect
from bioclip.delimited.headed import read_headed
from bioclip.errors import ArchiveError
from bioclip.sample import sample_path

FIELDS = {"a": FieldLayout(1, None), "b": FieldLayout(2, "default"), "c": FieldLayout(None, "constant")}
TERMS = ["id", "a", "b", "c"]
VALUE = st.text(alphabet="xy é\"'\t,;", max_size=6)
TABS = Dialect("\t", quote="")
ENDING = st.sampled_from(["\n", "\n", "\n", "\r\n", "\n\n", "\r"])


def layout(**changes: object) -> TableLayout:
    """A core of three columns, two of them with defaults."""
    values = {"fields_terminated_by": "\t", "fields_enclosed_by": "", "ignore_header_lines": 1, "where": "meta"}
    return TableLayout("Occurrence", ("t.txt",), FIELDS, id_index=0, **{**values, **changes})  # type: ignore[arg-type]


Rows = list[dict[str, str]] | str


def both(data: bytes, table: TableLayout, block_bytes: int) -> tuple[Rows, Rows]:
    """(rows through Arrow, rows one by one); the message where no row can be read."""
    return (
        rows_or_message(lambda: [row for part in read_tables(io.BytesIO(data), table, TERMS, log=DamageLog(1.0), block_bytes=block_bytes)
                                 for row in part.to_pylist()]),
        rows_or_message(lambda: list(read_rows(io.BytesIO(data), table, log=DamageLog(1.0)))),
    )  # fmt: skip


def rows_or_message(read: Callable[[], list[dict[str, str]]]) -> Rows:
    try:
        return read()
    except ArchiveError as error:
        return str(error)


@given(
    st.lists(st.tuples(st.lists(VALUE, min_size=1, max_size=4), ENDING), max_size=12), st.integers(1, 60), st.sampled_from(["\n", "\r\n"])
)
def test_plain_tables_read_as_row_by_row(rows: list[tuple[list[str], str]], block_bytes: int, terminator: str) -> None:
    data = "id\ta\tb\n" + "".join("\t".join(values) + end for values, end in rows)
    arrow, slow = both(data.encode(), layout(lines_terminated_by=terminator), block_bytes)
    assert arrow == slow


@given(st.lists(st.lists(VALUE, min_size=3, max_size=3), max_size=12), st.integers(1, 60), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_enclosed_tables_read_as_row_by_row(rows: list[list[str]], block_bytes: int, end: str, is_well_quoted: bool) -> None:
    def quoted(value: str) -> str:
        return '"' + (value.replace('"', '""') if is_well_quoted else value) + f'{end if "x" in value else ""}"'

    data = f"id,a,b{end}" + "".join(",".join(map(quoted, row)) + end for row in rows)
    arrow, slow = both(data.encode(), layout(fields_terminated_by=",", fields_enclosed_by='"'), block_bytes)
    assert arrow == slow


@pytest.mark.parametrize(
    ("data", "changes"),
    [
        (b"id\ta\tb\n1\tx\ty\n2\t\xff\ty\n3\tz\t\n", {}),
        ("id\ta\tb\n1\té\ty\n".encode("windows-1252"), {"encoding": "cp1252"}),
        (b"\xef\xbb\xbfid\ta\tb\n1\tx\ty\n", {}),
        (b"id||a||b\n1||x||y\n", {"fields_terminated_by": "||"}),
        (b"id\ta\tb|1\tx\ty|2\tx|", {"lines_terminated_by": "|"}),
        (b"id\ta\tb", {}),
        (b"", {}),
        (b'id,a,b\n1,"x\ny",z\n2,"",\n', {"fields_terminated_by": ",", "fields_enclosed_by": '"'}),
        (b'id,a,b\n1,5" nail,z\n2,x,"y"z\n', {"fields_terminated_by": ",", "fields_enclosed_by": '"'}),
        (b"1\tx\ty\n2\tx\ty\n", {"ignore_header_lines": 0}),
    ],
)
def test_odd_dialects_and_damage_give_the_same_rows_either_way(data: bytes, changes: dict[str, object]) -> None:
    arrow, slow = both(data, layout(**changes), 16)
    assert arrow == slow


def test_every_table_of_the_real_archives_reads_the_same_either_way(tmp_path: Path) -> None:
    for name in ("field-observations", "backbone"):
        with open_archive(sample_path(name)) as archive:
            for table in (archive.layout.core, *archive.layout.extensions):
                terms = [table.id_key, *table.fields]
                rows = [{term: row.get(term, "") for term in terms} for row in archive.rows(table)]
                batches = [row for batch in archive.tables(table, terms) for row in batch.to_pylist()]
                assert batches == rows
                assert rows


def test_an_unclosed_quote_is_counted_with_its_line_and_the_rows_after_it_are_read() -> None:
    data = b"id,a,b\n1,x,y\n" + b'2,"never closed,y\n' + b"3,x,y\n" * 200_000
    table, log = layout(fields_terminated_by=",", fields_enclosed_by='"'), DamageLog()
    tables = list(read_tables(io.BytesIO(data), table, TERMS, "data.csv", log))
    assert sum(part.num_rows for part in tables) == 200_001
    [damaged] = log.take()
    assert (damaged.reason, damaged.count) == ("row_damaged", 1)
    assert damaged.places[0].startswith("data.csv, line 3: a quote")


class TestHeaded:
    def test_columns_are_found_by_name_and_values_trimmed(self) -> None:
        data = b"http://purl.org/dc/terms/identifier\ttaxonID\n 1 \tx\n2\ty\n"
        [empty, table] = read_headed(io.BytesIO(data), "media.tab", TABS, ("taxonID", "identifier"), ("type",))
        assert empty.num_rows == 0
        assert table.to_pylist() == [{"taxonID": "x", "identifier": "1", "type": ""}, {"taxonID": "y", "identifier": "2", "type": ""}]

    @pytest.mark.parametrize("line", [b"1\n", b"1\t2\t3\n"])
    def test_a_line_of_the_wrong_length_is_named(self, line: bytes) -> None:
        with pytest.raises(ArchiveError, match=r"t\.tab, line 3: \d fields, but the header has 2"):
            list(read_headed(io.BytesIO(b"a\tb\n1\t2\n" + line + b"1\t2\n"), "t.tab", TABS, ("a", "b")))

    def test_bytes_that_are_no_utf8_are_named(self) -> None:
        with pytest.raises(ArchiveError, match=r"t\.tab, line 2: not UTF-8 text"):
            list(read_headed(io.BytesIO(b"a\tb\n1\t\xff\n"), "t.tab", TABS, ("a", "b")))


def test_a_cut_off_member_is_refused_in_one_sentence(tmp_path: Path) -> None:
    from bioclip.delimited.members import open_member

    whole = tmp_path / "export.tgz"
    with tarfile.open(whole, "w:gz") as archive:
        archive.add(sample_path("eol-taxon"), "taxon.tab")
    whole.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(ArchiveError, match=r"export\.tgz"), open_member(whole, "taxon.tab") as (where, stream):
        list(read_headed(stream, where, TABS, ("taxonID",)))
