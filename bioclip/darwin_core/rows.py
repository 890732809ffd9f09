"""Rows of a table as its layout describes it, streamed, with what real files do besides."""

from __future__ import annotations

import codecs
import csv
import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from bioclip.darwin_core.layout import TableLayout
from bioclip.errors import ArchiveError

MAX_FIELD_CHARS = 1 << 24
"""Longest enclosed value; a longer one is an enclosing character that is never closed."""

READ_ERRORS = (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError)
"""What a damaged, encrypted or truncated file raises while it is read."""

PEEK_BYTES = 1 << 16


@dataclass(frozen=True)
class Dialect:
    """How a file's bytes become lines, as its layout says and its start confirms."""

    encoding: str
    newline: str | None
    """As of io.TextIOWrapper: None is any of the usual three."""
    is_usual: bool
    """False when lines end in something that is no line end of text files."""


def sniff_dialect(start: bytes, table: TableLayout) -> Dialect:
    """The dialect of a file that begins with `start` (PEEK_BYTES of it, or all): a byte order mark decides the encoding, and a
    terminator that the start does not hold gives way to the usual ones."""
    encoding = "utf-8-sig" if table.encoding == "utf-8" or start.startswith(codecs.BOM_UTF8) else table.encoding
    terminator = table.lines_terminated_by
    is_held = terminator in start.decode(encoding, "ignore")
    is_usual = terminator in {"\n", "\r", "\r\n"} or not is_held
    newline = "" if table.fields_enclosed_by or not is_usual else terminator if is_held else None
    return Dialect(encoding, newline, is_usual)


def read_rows(
    stream: IO[bytes], table: TableLayout, where: str = "", dialect: Dialect | None = None, first_line: int = 0
) -> Iterator[dict[str, str]]:
    """Each row as local term name -> value; the core's id is under `id` (core) or `coreid` (extension).

    Absent values are the term's default or empty; columns beyond the layout are ignored; blank lines are skipped. Bytes that
    the encoding does not have become U+FFFD, so that the row is kept and the damage seen. `stream` is closed at the end.
    `dialect` (else sniffed) and `first_line`, the lines before it, are for a stream that goes on in the middle of a file.
    Raises ArchiveError.
    """
    named = [(name, at.column, at.default) for name, at in table.fields.items()]
    if table.id_index is not None:
        named.insert(0, (table.id_key, table.id_index, None))
    columns = [(name, index) for name, index, _ in named if index is not None]
    names, width = [name for name, _ in columns], max((index for _, index in columns), default=-1) + 1
    indices = [index for _, index in columns]
    constants = {name: default or "" for name, index, default in named if index is None}
    defaults = [(name, default) for name, index, default in named if index is not None and default]
    for values in _split_rows(stream, table, where or table.where, dialect, first_line):
        if len(values) < width:
            values += [""] * (width - len(values))
        row = dict(zip(names, [values[index] for index in indices], strict=True))
        for name, default in defaults:
            row[name] = row[name] or default
        row.update(constants)
        yield row


def _split_rows(stream: IO[bytes], table: TableLayout, where: str, dialect: Dialect | None, first_line: int) -> Iterator[list[str]]:
    number = first_line
    try:
        lines = _lines(stream, table, dialect)
        for _ in range(table.ignore_header_lines):
            next(lines, None)
            number += 1
        if table.fields_enclosed_by:
            csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD_CHARS))
            reader = csv.reader(lines, delimiter=table.fields_terminated_by, quotechar=table.fields_enclosed_by, doublequote=True)
            for row in reader:
                number = first_line + table.ignore_header_lines + reader.line_num
                if row:
                    yield row
            return
        delimiter = table.fields_terminated_by
        for line in lines:
            number += 1
            if line:
                yield line.split(delimiter)
    except csv.Error as error:
        raise ArchiveError(f"{where} line {number + 1}: {error}; check fieldsEnclosedBy and unclosed quotes.") from None
    except READ_ERRORS as error:
        raise ArchiveError(f"{where} line {number + 1}: the file cannot be read further ({error}); get the archive again.") from None


def _lines(stream: IO[bytes], table: TableLayout, dialect: Dialect | None) -> Iterator[str]:
    """Lines of text: without their end when plain, with it when enclosed (it may be part of a value)."""
    buffered = io.BufferedReader(stream, PEEK_BYTES)  # type: ignore[type-var]
    dialect = dialect or sniff_dialect(buffered.peek(PEEK_BYTES), table)
    with io.TextIOWrapper(buffered, dialect.encoding, "replace", newline=dialect.newline) as text:
        if not dialect.is_usual:
            yield from _divide(text, table.lines_terminated_by)
        elif table.fields_enclosed_by:
            yield from text
        else:
            for line in text:
                yield line.rstrip("\r\n")


def _divide(text: io.TextIOWrapper, terminator: str) -> Iterator[str]:
    rest = ""
    while chunk := text.read(PEEK_BYTES):
        *whole, rest = (rest + chunk).split(terminator)
        yield from whole
    if rest.strip("\r\n"):
        yield rest
