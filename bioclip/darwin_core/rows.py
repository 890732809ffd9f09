"""Rows of a table as its layout describes it, streamed, with what real files do besides."""

from __future__ import annotations

import codecs
import csv
import io
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

from bioclip.darwin_core.layout import TableLayout
from bioclip.errors import ArchiveError

MAX_FIELD_CHARS = 1 << 24
"""Longest enclosed value; a longer one is an enclosing character that is never closed."""

READ_ERRORS = (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError)
"""What a damaged, encrypted or truncated file raises while it is read."""

_PEEK_BYTES = 1 << 16


def read_rows(stream: IO[bytes], table: TableLayout, where: str = "") -> Iterator[dict[str, str]]:
    """Each row as local term name -> value; the core's id is under `id` (core) or `coreid` (extension).

    Absent values are the term's default or empty; columns beyond the layout are ignored; blank lines are skipped. Bytes that
    the encoding does not have become U+FFFD, so that the row is kept and the damage seen. `stream` is closed at the end.
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
    for values in _split_rows(stream, table, where or table.where):
        if len(values) < width:
            values += [""] * (width - len(values))
        row = dict(zip(names, [values[index] for index in indices], strict=True))
        for name, default in defaults:
            row[name] = row[name] or default
        row.update(constants)
        yield row


def _split_rows(stream: IO[bytes], table: TableLayout, where: str) -> Iterator[list[str]]:
    number = 0
    try:
        lines = _lines(stream, table)
        for _ in range(table.ignore_header_lines):
            next(lines, None)
            number += 1
        if table.fields_enclosed_by:
            csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD_CHARS))
            reader = csv.reader(lines, delimiter=table.fields_terminated_by, quotechar=table.fields_enclosed_by, doublequote=True)
            for row in reader:
                number = table.ignore_header_lines + reader.line_num
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


def _lines(stream: IO[bytes], table: TableLayout) -> Iterator[str]:
    """Lines of text: without their end when plain, with it when enclosed (it may be part of a value)."""
    buffered = io.BufferedReader(stream, _PEEK_BYTES)  # type: ignore[type-var]
    start = buffered.peek(_PEEK_BYTES)
    encoding = "utf-8-sig" if table.encoding == "utf-8" or start.startswith(codecs.BOM_UTF8) else table.encoding
    terminator, is_enclosed = table.lines_terminated_by, bool(table.fields_enclosed_by)
    is_held = terminator in start.decode(encoding, "ignore")
    is_usual = terminator in {"\n", "\r", "\r\n"} or not is_held
    newline = "" if is_enclosed or not is_usual else terminator if is_held else None
    with io.TextIOWrapper(buffered, encoding, "replace", newline=newline) as text:
        if not is_usual:
            yield from _divide(text, terminator)
        elif is_enclosed:
            yield from text
        else:
            for line in text:
                yield line.rstrip("\r\n")


def _divide(text: io.TextIOWrapper, terminator: str) -> Iterator[str]:
    rest = ""
    while chunk := text.read(_PEEK_BYTES):
        *whole, rest = (rest + chunk).split(terminator)
        yield from whole
    if rest.strip("\r\n"):
        yield rest
