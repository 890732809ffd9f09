"""One reader of delimited text: damage costs the damaged row alone, and both ways of reading give the same rows."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioclip.delimited.damage import DamageLog
from bioclip.delimited.dialects import Dialect
from bioclip.delimited.headed import open_headed
from bioclip.delimited.reading import Column, DelimitedTable
from bioclip.errors import ArchiveError

COMMAS, TABS = Dialect(","), Dialect("\t", quote="")
HEADER = "id,name,url"
CELL = st.text(alphabet='ab1 ",\\\n\ré', max_size=5)
GOOD = st.lists(st.text(alphabet="ab é", max_size=5), min_size=2, max_size=2)


def rows(data: str | bytes, dialect: Dialect = COMMAS, log: DamageLog | None = None, **options: bool) -> list[list[str]]:
    """The rows, read one by one."""
    content = data if isinstance(data, bytes) else data.encode()
    return [values for _, values in DelimitedTable(io.BytesIO(content), "t.csv", dialect, log, **options).rows()]


def damage(data: str, dialect: Dialect = COMMAS) -> tuple[list[str], list[tuple[str, str]]]:
    """(first fields of the rows that are read, (reason, place) of the others)."""
    log = DamageLog(1.0)
    found = [values[0] for values in rows(data, dialect, log)]
    return found, [(one.reason, place.split(":")[0]) for one in log.take() for place in one.places]


@pytest.mark.parametrize(
    ("lines", "read", "lost"),
    [
        (['1,"5 mm bee,u1', '2,"6 mm bee,u2', "3,ok,u3"], ["3"], [2, 3]),
        (['1,"Big" bee,u1', '2,"a, b",u2', '3,"5 mm,u3', "4,A,u4", '5,"6 mm,u5', "6,C,u6"], ["1", "2", "4", "6"], [4, 6]),
        (['1,"5 mm bee,u1', '2,bee of 7",u2', "3,ok,u3"], ["2", "3"], [2]),
        (['1,5" nail,u1', "2,ok,u2"], ["1", "2"], []),
        (['1,"never closed,u1', *(f"{number},ok,u" for number in range(2, 30))], [str(number) for number in range(2, 30)], [2]),
        (['1,"closed" badly, here,u1', "2,ok,u2"], ["2"], [2]),
    ],
)
def test_a_stray_quote_costs_its_own_row_and_no_row_takes_another_s_values(lines: list[str], read: list[str], lost: list[int]) -> None:
    found, damaged = damage("\n".join([HEADER, *lines]))
    assert found == read
    assert damaged == [("row_damaged", f"t.csv, line {line}") for line in lost]


def test_backslash_escaped_quotes_are_read() -> None:
    data = f'{HEADER}\n1,"a \\"b, c\\" d",u1\n2,"ends \\"",u2\n3,"C:\\",u3\n'
    assert rows(data) == [["1", 'a "b, c" d', "u1"], ["2", 'ends "', "u2"], ["3", "C:\\", "u3"]]


def test_a_value_of_several_lines_is_one_value() -> None:
    data = f'{HEADER}\n1,"first, line\nsecond, line",u1\n2,"with ""quotes""\r\n",u2\n'
    assert rows(data) == [["1", "first, line\nsecond, line", "u1"], ["2", 'with "quotes"\r\n', "u2"]]


@pytest.mark.parametrize("ends", [("\r",), ("\n",), ("\r\n",), ("\n", "\r\n"), ("\r\n", "\n"), ("\r", "\n", "\r\n"), ("\n", "\r")])
@pytest.mark.parametrize("dialect", [COMMAS, Dialect(",", quote=""), Dialect(",", line_end="\r\n"), Dialect(",", line_end="\r")])
def test_rows_are_those_that_a_person_sees_however_lines_end(ends: tuple[str, ...], dialect: Dialect) -> None:
    lines = [HEADER, "1,A,u1", "2,B,u2", "3,C,u3"]
    data = "".join(line + ends[place % len(ends)] for place, line in enumerate(lines))
    assert [values[0] for values in rows(data, dialect)] == ["1", "2", "3"]
    assert [values[0] for values in rows(data.rstrip("\r\n"), dialect)] == ["1", "2", "3"]


def test_a_line_end_of_another_kind_may_be_part_of_a_value() -> None:
    assert rows("id\tname\turl\n1\tA\rB\tu1\n2\tC\tu2\n", TABS) == [["1", "A\rB", "u1"], ["2", "C", "u2"]]


def test_a_ragged_row_is_counted_with_its_line_and_empty_fields_beyond_the_header_are_cut() -> None:
    assert damage(f"{HEADER}\n1,A\n2,B,u2\n3,C,u3,more\n4,D,u4,,\n") == (
        ["2", "4"],
        [("row_ragged", "t.csv, line 2"), ("row_ragged", "t.csv, line 4")],
    )


def test_bytes_outside_the_encoding_keep_their_row_and_are_counted() -> None:
    log = DamageLog(1.0)
    assert rows(b"id,name\n1,caf\xe9\n2,ok\n", COMMAS, log) == [["1", "caf\ufffd"], ["2", "ok"]]
    assert [(one.reason, one.count) for one in log.take()] == [("row_not_decoded", 1)]


def test_a_file_written_by_hand_is_refused_at_its_first_fault() -> None:
    with pytest.raises(ArchiveError, match=r"t\.csv, line 3: 2 fields, but the header has 3\."):
        rows(f"{HEADER}\n1,A,u1\n2,B\n")


def test_more_than_the_allowed_share_of_damaged_rows_refuses_the_file() -> None:
    lines = [HEADER, *(f"{number},A,u" for number in range(95)), *["x"] * 5]
    assert len(rows("\n".join(lines), COMMAS, DamageLog(0.05))) == 95
    with pytest.raises(ArchiveError, match=r"line 97: 1 fields, .*; 5 of 100 rows are damaged, more than the allowed share of 0\.04"):
        rows("\n".join(lines), COMMAS, DamageLog(0.04))


def test_a_file_without_a_readable_row_is_rejected_for_any_share() -> None:
    with pytest.raises(ArchiveError, match="1 of 1 rows are damaged"):
        rows(f"{HEADER}\nx\n", COMMAS, DamageLog(1.0))


def test_an_empty_file_has_no_header_and_says_so() -> None:
    with pytest.raises(ArchiveError, match=r"t\.csv, line 1: the file is empty"):
        open_headed(io.BytesIO(b""), "t.csv", COMMAS)


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252", "utf-8-sig"])
def test_any_encoding_goes_through_the_same_reader(encoding: str) -> None:
    data = f'{HEADER}\n1,"Åsa, é",u1\n2,B,u2\n'.encode(encoding)
    table = DelimitedTable(io.BytesIO(data), "t.csv", Dialect(",", encoding=encoding))
    assert [part.to_pylist() for part in table.tables({"name": Column(1)})] == [[{"name": "Åsa, é"}, {"name": "B"}]]


@settings(deadline=None)
@given(st.lists(st.lists(CELL, min_size=3, max_size=3), max_size=6), st.sampled_from(["\n", "\r\n"]))
def test_what_is_quoted_well_is_read_as_the_standard_library_reads_it(values: list[list[str]], end: str) -> None:
    values = [[value.replace("\\", "/") for value in row] for row in values]
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator=end).writerows([["x1", "b", "c"], *values])
    log = DamageLog(1.0)
    found = [row for _, row in DelimitedTable(io.BytesIO(text.getvalue().encode()), "t", COMMAS, log).rows()]
    assert found == values or log.take(), "rows that look like several rows are counted, never changed in silence"


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.lists(CELL, min_size=1, max_size=4), st.sampled_from(["\n", "\r\n", "\r", "\n\n"])), max_size=8),
    st.integers(1, 60),
    st.sampled_from([COMMAS, Dialect(",", quote="")]),
    st.booleans(),
)
def test_tables_and_rows_are_equal_for_any_block_size(
    lines: list[tuple[list[str], str]], block_bytes: int, dialect: Dialect, is_padded: bool
) -> None:
    data = ("x,y,z\n" + "".join(",".join(values) + end for values, end in lines)).encode()
    logs = DamageLog(1.0), DamageLog(1.0)

    def read(log: DamageLog, is_table: bool) -> object:
        table = DelimitedTable(io.BytesIO(data), "t", dialect, log, is_padded=is_padded, block_bytes=block_bytes if is_table else 1 << 20)
        try:
            if is_table:
                columns = {str(place): Column(place) for place in range(3)}
                return [tuple(row.values()) for part in table.tables(columns) for row in part.to_pylist()]
            return [tuple([*values, "", ""][:3]) for _, values in table.rows()]
        except ArchiveError as error:
            return str(error)

    assert read(logs[0], True) == read(logs[1], False)
    assert logs[0].take() == logs[1].take()


@settings(deadline=None)
@given(st.lists(GOOD, min_size=1, max_size=8), st.integers(0, 8), st.sampled_from(['"x,u', 'a "b,u', '"x" y,u,"', "x", "a,b,c,d"]))
def test_one_bad_line_takes_no_good_row_with_it(values: list[list[str]], place: int, bad: str) -> None:
    good = [f"{number},{','.join(row)}" for number, row in enumerate(values)]
    lines = [*good[:place], f"bad,{bad}" if bad != "x" else "x", *good[place:]]
    found, _ = damage("\n".join([HEADER, *lines]))
    assert [one for one in found if one != "bad"] == [str(number) for number in range(len(values))]
