"""Tables of an archive as Arrow batches: the same values as `read_rows` gives, many times faster where the text is regular.

The file is taken in blocks that end with a line. A block of the common dialects (UTF-8; plain fields, or fields enclosed as
RFC 4180 has it) whose lines all have the same number of fields goes to Arrow's reader. Anything else goes through `read_rows`: of a
plain table that block alone, of an enclosed one all that follows, since a stray quote may reach beyond any block.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc
from pyarrow import csv as pa_csv

from bioclip.darwin_core.layout import FieldLayout, TableLayout
from bioclip.darwin_core.rows import PEEK_BYTES, READ_ERRORS, Dialect, read_rows, sniff_dialect
from bioclip.errors import ArchiveError

BLOCK_BYTES = 8 << 20
"""Bytes of text parsed at once; a line may be longer."""

_ROWS_PER_TABLE = 20_000
_UTF8 = {"utf-8", "utf-8-sig"}


RowReader = Callable[[IO[bytes], TableLayout, str, Dialect, int], Iterator[dict[str, str]]]
"""`read_rows`, or a stricter one of the same signature."""


def read_tables(
    stream: IO[bytes],
    table: TableLayout,
    terms: Sequence[str],
    where: str = "",
    *,
    block_bytes: int = BLOCK_BYTES,
    first_line: int = 0,
    width: int | None = None,
    row_reader: RowReader = read_rows,
) -> Iterator[pa.Table]:
    """Columns `terms` of a table, as strings without nulls, in the order of the file; terms that the layout lacks are empty.

    Values, defaults and what becomes of odd lines are those of `read_rows`. The core's id is `table.id_key`. `stream` is closed
    at the end. Blocks whose rows have other than `width` fields, where it is given, go through `row_reader` too; `first_line` is the
    number of lines before the stream's start, for messages. Raises ArchiveError.
    """
    where = where or table.where
    with stream:
        try:
            start = _read_exactly(stream, PEEK_BYTES)
        except READ_ERRORS as error:
            raise ArchiveError(f"{where} line 1: the file cannot be read ({error}); get the archive again.") from None
        reader = _BlockReader(table, tuple(terms), where, sniff_dialect(start, table), row_reader, width, first_line)
        if not _is_common(table, reader.dialect):
            yield from reader.slow(_continued(start, stream), first_line, headed=True)
            return
        yield from reader.fast(start.removeprefix(b"\xef\xbb\xbf"), stream, block_bytes)


def _is_common(table: TableLayout, dialect: Dialect) -> bool:
    delimiter, enclosing = table.fields_terminated_by, table.fields_enclosed_by
    ends = dialect.newline in {"\n", "\r\n", None, ""}
    ascii_only = len(delimiter) == 1 and delimiter.isascii() and delimiter not in "\r\n" and enclosing.isascii()
    return dialect.encoding in _UTF8 and dialect.is_usual and ends and ascii_only and table.ignore_header_lines <= 1


@dataclass
class _BlockReader:
    table: TableLayout
    terms: tuple[str, ...]
    where: str
    dialect: Dialect
    row_reader: RowReader
    required_width: int | None
    num_lines: int

    def fast(self, pending: bytes, stream: IO[bytes], block_bytes: int) -> Iterator[pa.Table]:
        """Block after block; leaves for `slow` what is not regular."""
        header = self.table.ignore_header_lines
        is_last = False
        while not is_last:
            chunk = self._read(stream, block_bytes)
            is_last = len(chunk) < block_bytes
            pending += chunk
            end = len(pending) if is_last else self._last_line_end(pending)
            block, rest = pending[:end], pending[end:]
            if not block and not is_last:
                continue
            parsed = self._parse(block, header) if block else None
            if block and parsed is None:
                if self.table.fields_enclosed_by:
                    yield from self.slow(_continued(pending, stream), self.num_lines, headed=bool(header))
                    return
                yield from self.slow(io.BytesIO(block), self.num_lines, headed=bool(header))
            elif parsed is not None and parsed.num_rows:
                yield parsed
            self.num_lines += block.count(b"\n")
            pending, header = rest, 0

    def slow(self, stream: IO[bytes], first_line: int, headed: bool) -> Iterator[pa.Table]:
        """Row by row, through `read_rows`."""
        table = self.table if headed else replace(self.table, ignore_header_lines=0)
        rows = self.row_reader(stream, table, self.where, self.dialect, first_line)
        while some := list(islice(rows, _ROWS_PER_TABLE)):
            yield pa.table({term: pa.array([row.get(term, "") for row in some], pa.string()) for term in self.terms})

    def _read(self, stream: IO[bytes], num_bytes: int) -> bytes:
        try:
            return _read_exactly(stream, num_bytes)
        except READ_ERRORS as error:
            raise ArchiveError(
                f"{self.where} line {self.num_lines + 1}: the file cannot be read further ({error}); get the archive again."
            ) from None

    def _last_line_end(self, data: bytes) -> int:
        """Bytes up to and with the last line end that is outside quotes; 0 when there is none."""
        if not self.table.fields_enclosed_by:
            return data.rfind(b"\n") + 1
        values = np.frombuffer(data, np.uint8)
        quotes = np.flatnonzero(values == ord(self.table.fields_enclosed_by))
        ends = np.flatnonzero(values == ord("\n"))
        outside = ends[np.searchsorted(quotes, ends) % 2 == 0]
        return int(outside[-1]) + 1 if len(outside) else 0

    def _parse(self, block: bytes, header: int) -> pa.Table | None:
        """The block's columns, or None when it is not regular."""
        if not self._is_regular(block):
            return None
        data = (block.partition(b"\n")[2] if header else block).lstrip(b"\r\n")
        if not data:
            return self._empty()
        options = pa_csv.ParseOptions(
            delimiter=self.table.fields_terminated_by,
            quote_char=self.table.fields_enclosed_by or False,
            double_quote=bool(self.table.fields_enclosed_by),
            newlines_in_values=bool(self.table.fields_enclosed_by),
            ignore_empty_lines=True,
        )
        try:
            return self._convert(data, options)
        except (pa.ArrowInvalid, pa.ArrowKeyError):
            return None

    def _convert(self, data: bytes, options: Any) -> pa.Table | None:
        width = self._width(data)
        if self.required_width not in {None, width}:
            return None
        wanted = {term: self._place(term) for term in self.terms}
        names = [f"f{place.column}" for place in wanted.values() if place.column is not None and place.column < width]
        convert = pa_csv.ConvertOptions(
            column_types={f"f{index}": pa.string() for index in range(width)},
            include_columns=sorted(set(names)) or ["f0"],
            strings_can_be_null=False,
        )
        read = pa_csv.ReadOptions(autogenerate_column_names=True, block_size=max(1 << 20, len(data) // 4))
        parsed = pa_csv.read_csv(pa.BufferReader(data), read, options, convert)
        columns = {term: self._column(parsed, place, width) for term, place in wanted.items()}
        return pa.table(columns).replace_schema_metadata(None) if columns else parsed

    def _width(self, data: bytes) -> int:
        """Number of fields of the first row."""
        if not self.table.fields_enclosed_by:
            return data.partition(b"\n")[0].count(self.table.fields_terminated_by.encode()) + 1
        near = data[:PEEK_BYTES]
        text = (near if self._last_line_end(near) else data).decode("utf-8", "replace")
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=self.table.fields_terminated_by, quotechar=self.table.fields_enclosed_by
        )
        return len(next(reader))

    def _place(self, term: str) -> FieldLayout:
        if term == self.table.id_key and self.table.id_index is not None and term not in self.table.fields:
            return FieldLayout(self.table.id_index, None)
        return self.table.fields.get(term, FieldLayout(None, ""))

    def _column(self, parsed: pa.Table, place: FieldLayout, width: int) -> pa.ChunkedArray:
        if place.column is None or place.column >= width:
            return pa.chunked_array([pa.repeat(pa.scalar(place.default or "", pa.string()), parsed.num_rows)])
        column = parsed[f"f{place.column}"]
        return pc.if_else(pc.equal(column, ""), place.default, column) if place.default else column

    def _empty(self) -> pa.Table:
        return pa.table({term: pa.array([], pa.string()) for term in self.terms})

    def _is_regular(self, block: bytes) -> bool:
        """True when Arrow and Python cut the block up alike."""
        if b"\0" in block:
            return False
        num_returns = block.count(b"\r") if b"\r" in block else 0
        if num_returns and block.count(b"\r\n") != num_returns:
            return False
        if self.dialect.newline == "\r\n" and block.count(b"\n") != num_returns:
            return False
        return not self.table.fields_enclosed_by or self._is_well_enclosed(block)

    def _is_well_enclosed(self, block: bytes) -> bool:
        """Every quote opens a value, closes one, or is one of two that stand for one."""
        quote, delimiter = ord(self.table.fields_enclosed_by), ord(self.table.fields_terminated_by)
        values = np.frombuffer(b"\n" + block + b"\n", np.uint8)
        quotes = np.flatnonzero(values == quote)
        if len(quotes) % 2:
            return False
        before, after = values[quotes[0::2] - 1], values[quotes[1::2] + 1]
        opens = (before == delimiter) | (before == ord("\n")) | (before == quote)
        closes = (after == delimiter) | (after == ord("\n")) | (after == ord("\r")) | (after == quote)
        return bool(opens.all() and closes.all())


class _Continued(io.RawIOBase):
    """Bytes already read, then the rest of the stream they came from."""

    def __init__(self, start: bytes, rest: IO[bytes]) -> None:
        self._start, self._rest = memoryview(start), rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._start:
            num_bytes = min(len(buffer), len(self._start))
            buffer[:num_bytes], self._start = self._start[:num_bytes], self._start[num_bytes:]
            return num_bytes
        data = self._rest.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _continued(start: bytes, rest: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], _Continued(start, rest))


def _read_exactly(stream: IO[bytes], num_bytes: int) -> bytes:
    """`num_bytes` of a stream, fewer only at its end."""
    parts: list[bytes] = []
    while num_bytes and (part := stream.read(num_bytes)):
        parts.append(part)
        num_bytes -= len(part)
    return b"".join(parts)
