"""Tables of delimited text, as rows or as Arrow tables.

The bytes are read in blocks that end with a line. A block whose lines all have the same number of fields, with every quote at the edge
of a value and no value of several lines, goes to Arrow's reader. Any other block goes through `RowScanner`, which gives the same values
and reports damaged rows; an incomplete row at the end is carried over to the next block.
"""

from __future__ import annotations

import codecs
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import IO, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc
from pyarrow import csv as pa_csv

from bioclip.delimited.damage import DamageLog, refuse
from bioclip.delimited.dialects import Dialect
from bioclip.delimited.scanning import RowScanner, split_line
from bioclip.errors import ArchiveError

BLOCK_BYTES = 8 << 20
"""Bytes of text parsed at once; a line may be longer."""
READ_ERRORS = (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError)
"""Exceptions raised while a damaged, encrypted or truncated file is read."""

_START_BYTES = 1 << 16
_ROW_BLOCK_BYTES = 1 << 20
_MAX_LINE_BYTES = 1 << 26
_ROWS_PER_TABLE = 20_000
_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")
_REPLACEMENT = "\ufffd".encode()


class Column(NamedTuple):
    """Source of a column's values: a position from 0, a default for empty values, or both."""

    place: int | None
    default: str | None = None


class DelimitedTable:
    """One table. The header is read on construction; `rows` or `tables` reads the rows, once.

    Damaged rows raise ArchiveError, or are counted in `log` and skipped. Rows shorter than the header are ragged, or filled up with
    empty fields with `is_padded`, and then to `min_width` where the header is shorter or absent. `num_header_lines` are not rows; the
    last of them is the header. `stream` is not closed.
    """

    def __init__(
        self,
        stream: IO[bytes],
        where: str,
        dialect: Dialect,
        log: DamageLog | None = None,
        *,
        num_header_lines: int = 1,
        is_padded: bool = False,
        min_width: int = 0,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        self._where, self._log, self._block_bytes = where, log, block_bytes
        self._stream, self._is_at_end, self._is_padded = stream, False, is_padded
        self._rows = RowScanner(dialect, where, log or refuse)
        self._pending = self._read_bytes(_START_BYTES)
        self.dialect = dialect.adapted_to(self._pending)
        is_utf8 = self.dialect.encoding in {"utf-8", "utf-8-sig"}
        self._decoder = None if is_utf8 else codecs.getincrementaldecoder(self.dialect.encoding)("replace")
        self._pending = self._as_utf8(self._pending).removeprefix(codecs.BOM_UTF8)
        self._rows = RowScanner(self.dialect, where, log or refuse, is_padded=is_padded)
        self._rows.usual_end = _usual_line_end(self._pending)
        self.header = self._read_header(num_header_lines)
        """Fields of the last header line; empty if there is none."""
        self._rows.min_width = min_width
        self._rows.width = max(len(self.header), min_width) if self.header else None

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """(line from 1, fields) of each row."""
        for block, is_last in self._blocks(min(self._block_bytes, _ROW_BLOCK_BYTES)):
            yield from self._scan(block, is_last)
        self._finish()

    def records(self) -> Iterator[tuple[int, dict[str, str]]]:
        """(line from 1, column -> value) of each row; fields beyond `header` are dropped."""
        header = self.header
        for line, values in self.rows():
            yield line, dict(zip(header, values, strict=False))

    def tables(self, columns: Mapping[str, Column]) -> Iterator[pa.Table]:
        """The columns as strings without nulls, in the order of the file."""
        for block, is_last in self._blocks(self._block_bytes):
            parsed = self._parse(block, columns)
            if parsed is None:
                rows = (values for _, values in self._scan(block, is_last))
                while some := list(islice(rows, _ROWS_PER_TABLE)):
                    yield _table_of(some, columns)
            else:
                self._rows.line += block.count(b"\n")
                self._rows.num_rows += parsed.num_rows
                if parsed.num_rows:
                    yield parsed
        self._finish()

    def _finish(self) -> None:
        if self._log is not None:
            self._log.num_rows += self._rows.num_rows
            self._rows.num_rows = 0
            self._log.check()

    def _scan(self, block: bytes, is_last: bool) -> Iterator[tuple[int, list[str]]]:
        try:
            text, is_replaced = block.decode("utf-8"), self._decoder is not None and _REPLACEMENT in block
        except UnicodeDecodeError:
            text, is_replaced = block.decode("utf-8", "replace"), True
        yield from self._rows.scan(text, is_last, is_replaced)
        self._pending = self._rows.rest.encode() + self._pending

    def _blocks(self, num_bytes: int) -> Iterator[tuple[bytes, bool]]:
        """(bytes up to and including a line end, True if they are the last)."""
        is_last = False
        while not is_last:
            data = self._as_utf8(self._read_bytes(num_bytes))
            is_last = self._is_at_end
            if not (end := len(data) if is_last else self._last_line_end(data)):
                data, self._pending = self._pending + data, b""
                end = len(data) if is_last else self._last_line_end(data)
            block = b"".join((self._pending, memoryview(data)[:end])) if end else b""
            self._pending = data[end:]
            if len(self._pending) > max(_MAX_LINE_BYTES, 4 * num_bytes):
                raise ArchiveError(
                    f"{self._where}, line {self._rows.line + 1}: no line end within {_MAX_LINE_BYTES >> 20} MiB; is it a text file?"
                )
            if block:
                yield block, is_last

    def _last_line_end(self, data: bytes) -> int:
        """Number of bytes up to and including the last line end; 0 if there is none."""
        if not self.dialect.has_usual_line_ends:
            end = self.dialect.line_end.encode()
            found = data.rfind(end)
            return found + len(end) if found >= 0 else 0
        return data.rfind(b"\n") + 1 or data.rfind(b"\r", 0, len(data) - 1) + 1

    def _read_header(self, num_lines: int) -> list[str]:
        header: list[str] = []
        while num_lines:
            line = self._read_line()
            if line is None:
                break
            if line or self._is_padded:
                num_lines -= 1
                header = split_line(line.decode("utf-8", "replace"), self.dialect)
        return header

    def _read_line(self) -> bytes | None:
        """The next line without its end; None at the end of the file."""
        end = _LINE_END if self.dialect.has_usual_line_ends else re.compile(re.escape(self.dialect.line_end.encode()))
        while (found := end.search(self._pending)) is None and not self._is_at_end:
            if len(self._pending) > _MAX_LINE_BYTES:
                raise ArchiveError(f"{self._where}, line 1: no line end within {_MAX_LINE_BYTES >> 20} MiB; is it a text file?")
            self._pending += self._as_utf8(self._read_bytes(_START_BYTES))
        if not self._pending:
            return None
        line, rest = (self._pending[: found.start()], self._pending[found.end() :]) if found else (self._pending.rstrip(b"\r"), b"")
        self._pending = rest
        self._rows.line += 1
        return line

    def _read_bytes(self, num_bytes: int) -> bytes:
        """`num_bytes` of the stream, fewer only at its end."""
        parts: list[bytes] = []
        with self._explained():
            while num_bytes and (part := self._stream.read(num_bytes)):
                parts.append(part)
                num_bytes -= len(part)
        self._is_at_end = num_bytes > 0
        return b"".join(parts)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except READ_ERRORS as error:
            raise ArchiveError(
                f"{self._where}, line {self._rows.line + 1}: the rest of the file cannot be read ({error}); download it again."
            ) from None

    def _as_utf8(self, data: bytes) -> bytes:
        return data if self._decoder is None else self._decoder.decode(data, self._is_at_end).encode("utf-8", "replace")

    def _parse(self, block: bytes, columns: Mapping[str, Column]) -> pa.Table | None:
        """The block's columns from Arrow's reader; None if `RowScanner` would give other values."""
        if not self._is_regular(block):
            return None
        data = block.lstrip(b"\r\n")
        if not data:
            return _table_of([], columns)
        quote = self.dialect.quote
        width = len(self._rows.line_fields(data[: data.find(b"\n") + 1 or len(data)].rstrip(b"\r\n").decode("utf-8", "replace")) or ())
        if not self._is_width(width):
            return None
        places = sorted({column.place for column in columns.values() if column.place is not None and column.place < width})
        convert = pa_csv.ConvertOptions(
            column_types={f"f{place}": pa.string() for place in range(width)},
            include_columns=[f"f{place}" for place in places] or ["f0"],
            strings_can_be_null=False,
        )
        options = pa_csv.ParseOptions(delimiter=self.dialect.delimiter, quote_char=quote or False, double_quote=bool(quote))
        read = pa_csv.ReadOptions(autogenerate_column_names=True, block_size=max(1 << 20, len(data) // 4))
        try:
            parsed = pa_csv.read_csv(pa.BufferReader(data), read, options, convert)
        except (pa.ArrowInvalid, pa.ArrowKeyError):
            return None
        return pa.table({name: _values(parsed, column, width) for name, column in columns.items()}) if columns else parsed

    def _is_width(self, width: int) -> bool:
        required = self._rows.width
        return required is None or width == required or (self._is_padded and width < required)

    def _is_regular(self, block: bytes) -> bool:
        """True if Arrow and `RowScanner` split the block into the same fields."""
        delimiter, quote = self.dialect.delimiter, self.dialect.quote
        is_plain = len(delimiter) == 1 and delimiter.isascii() and delimiter not in "\r\n" and quote.isascii()
        if not is_plain or not self.dialect.has_usual_line_ends or b"\0" in block:
            return False
        if self._decoder is not None and _REPLACEMENT in block:
            return False
        if b"\r" in block and block.count(b"\r\n") != block.count(b"\r"):
            return False
        return not quote or self._is_well_quoted(block)

    def _is_well_quoted(self, block: bytes) -> bool:
        """True if every quote opens or closes a single-line value, or is doubled inside one."""
        quote, delimiter, line_end = ord(self.dialect.quote), ord(self.dialect.delimiter), ord("\n")
        if self.dialect.quote.encode() not in block:
            return True
        values = np.frombuffer(b"\n" + block + b"\n", np.uint8)
        quotes = np.flatnonzero(values == quote)
        if len(quotes) % 2:
            return False
        before, after = values[quotes[0::2] - 1], values[quotes[1::2] + 1]
        opens = (before == delimiter) | (before == line_end) | (before == quote)
        closes = (after == delimiter) | (after == line_end) | (after == ord("\r")) | (after == quote)
        if not (opens.all() and closes.all()):
            return False
        ends = np.flatnonzero(values == line_end)
        return not (np.searchsorted(quotes, ends) % 2).any()


def _usual_line_end(start: bytes) -> str:
    """LF or CRLF, decided by the first LF; CR if there is no LF."""
    place = start.find(b"\n")
    return "\r" if place < 0 and b"\r" in start else "\r\n" if place > 0 and start[place - 1 : place] == b"\r" else "\n"


def _values(parsed: pa.Table, column: Column, width: int) -> pa.ChunkedArray:
    if column.place is None or column.place >= width:
        return pa.chunked_array([pa.repeat(pa.scalar(column.default or "", pa.string()), parsed.num_rows)])
    values = parsed[f"f{column.place}"]
    return pc.if_else(pc.equal(values, ""), column.default, values) if column.default else values


def _table_of(rows: Sequence[Sequence[str]], columns: Mapping[str, Column]) -> pa.Table:
    made = {}
    for name, (place, default) in columns.items():
        if place is None:
            made[name] = pa.array([default or ""] * len(rows), pa.string())
        else:
            made[name] = pa.array([(row[place] if place < len(row) else "") or default or "" for row in rows], pa.string())
    return pa.table(made)
