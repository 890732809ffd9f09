"""Providers' tables whose first line names the columns: CSV or tab separated, streamed as Arrow batches, strict about every line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import IO

import pyarrow as pa
from pyarrow import compute as pc

from bioclip.darwin_core import FieldLayout, TableLayout, local_name, read_tables
from bioclip.darwin_core.rows import READ_ERRORS, Dialect
from bioclip.errors import ArchiveError

_MAX_HEADER_BYTES = 1 << 20


def read_headed(
    stream: IO[bytes], where: str, required: Sequence[str], delimiter: str, quote: str = "", optional: Sequence[str] = ()
) -> Iterator[pa.Table]:
    """Columns `required` and `optional` (empty where the header lacks them) as trimmed strings; at least one table, be it empty.

    Header cells may be addresses of terms: their local names count. Raises ArchiveError that names file, line and rule.
    """
    try:
        line = stream.readline(_MAX_HEADER_BYTES).decode("utf-8-sig").rstrip("\r\n")
    except (*READ_ERRORS, UnicodeDecodeError) as error:
        raise ArchiveError(f"{where}, line 1: not UTF-8 text separated by {delimiter!r}: {error}.") from None
    header = [local_name(cell) if "/" in cell else cell.strip() for cell in _cells(line, delimiter, quote)]
    if missing := [column for column in required if column not in header]:
        raise ArchiveError(f"{where}, line 1: column {missing[0]!r} is missing; the header must hold {', '.join(required)}.")
    names = [*required, *optional]
    fields = {name: FieldLayout(header.index(name), None) for name in names if name in header}
    layout = TableLayout("", (), fields, None, True, "utf-8", delimiter, "\n", quote, 0, where)
    yield pa.table({name: pa.array([], pa.string()) for name in names})
    for table in read_tables(stream, layout, names, where, first_line=1, width=len(header), row_reader=_Strict(header).rows):
        yield pa.table({name: pc.utf8_trim_whitespace(table[name]) for name in names})


def _cells(line: str, delimiter: str, quote: str) -> list[str]:
    if not quote:
        return line.split(delimiter)
    return next(csv.reader([line], delimiter=delimiter, quotechar=quote), [])


class _Strict:
    """Reads what Arrow did not, row by row, and refuses what is wrong."""

    def __init__(self, header: list[str]) -> None:
        self._header = header

    def rows(self, stream: IO[bytes], table: TableLayout, where: str, dialect: Dialect, first_line: int) -> Iterator[dict[str, str]]:
        """Rows as column -> value; raises ArchiveError for a line of the wrong length, bad UTF-8 and unclosed quotes."""
        number, width = first_line, len(self._header)
        delimiter, quote = table.fields_terminated_by, table.fields_enclosed_by
        try:
            with io.TextIOWrapper(io.BufferedReader(stream), "utf-8", newline="" if quote else "\n") as text:  # type: ignore[type-var]
                if quote:
                    rows: Iterator[list[str]] = csv.reader(text, delimiter=delimiter, quotechar=quote, strict=False)
                else:
                    rows = (line.split(delimiter) if (line := raw.rstrip("\r\n")) else [] for raw in text)
                for values in rows:
                    number = first_line + rows.line_num if isinstance(rows, _CSV_READER) else number + 1
                    if values and len(values) != width:
                        raise ArchiveError(f"{where}, line {number}: {len(values)} fields where the header has {width}.")
                    if values:
                        yield dict(zip(self._header, values, strict=True))
        except (csv.Error, UnicodeDecodeError) as error:
            raise ArchiveError(f"{where}, line {number + 1}: not UTF-8 text separated by {delimiter!r}: {error}.") from None
        except READ_ERRORS as error:
            raise ArchiveError(f"{where}, line {number + 1}: the file cannot be read further ({error}); get it again.") from None


_CSV_READER = type(csv.reader([]))
