"""Splits text into rows by RFC 4180, with a bounded look-ahead, so one stray quote damages one row.

A row that begins with a proper quoted value may span lines. If the quotes of a row do not match, the row is parsed with
backslash-escaped quotes, then as a single line; if neither gives the header's number of fields, the row is damaged and the next line is
read as a row of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import Literal, TypeAlias

from bioclip.delimited.damage import ROW_DAMAGED, ROW_NOT_DECODED, ROW_RAGGED, DamagedRow, OnDamage, refuse
from bioclip.delimited.dialects import Dialect

MAX_ROW_LINES = 1000
"""Most lines that a quoted value may span."""
MAX_ROW_CHARS = 1 << 20
"""Most characters of a row that spans several lines."""
_MAX_JOINED_LINES = 8
_MAX_ESCAPED_LINES = 32
_LINE_END = re.compile(r"(\r\n|\n|\r)")
_REPLACEMENT = "\ufffd"


class _Progress(Enum):
    MORE = "more"


MORE = _Progress.MORE
"""The row continues after the end of the text."""
_Row: TypeAlias = tuple[list[str], int]
"""(fields, number of lines)."""
_Found: TypeAlias = _Row | Literal[_Progress.MORE] | None


class RowScanner:
    """Rows of consecutive pieces of one file's text.

    `width` is the header's number of fields, None if it is unknown. Rows with another number of fields are ragged, except that empty fields
    beyond `width` are cut off; with `is_padded`, short rows are filled up with empty fields. `rest` is the text that `scan` leaves for
    the next piece, `line` the number of lines before it.
    """

    def __init__(self, dialect: Dialect, where: str, on_damage: OnDamage, *, is_padded: bool = False) -> None:
        self._dialect, self._where, self._on_damage = dialect, where, on_damage
        self._is_padded = is_padded
        self._delimiter, self._quote = dialect.delimiter, dialect.quote
        self.usual_end = "\n"
        """The most frequent line end; other kinds may be part of a value."""
        self.width: int | None = None
        self.min_width = 0
        """Number of fields that short rows are filled up to if `width` is None."""
        self.num_rows = 0
        self.line = 0
        self.rest = ""

    def scan(self, text: str, is_last: bool, is_replaced: bool = False) -> Iterator[tuple[int, list[str]]]:
        """(line from 1, fields) of each row; blank lines are skipped. `is_replaced`: U+FFFD replaces invalid bytes."""
        lines, ends, self.rest = self._split(text, is_last)
        first, place = self.line, 0
        while place < len(lines):
            if not (line := lines[place]):
                place += 1
                continue
            self.line = first + place
            found = (
                self._quoted(lines, ends, place, is_last)
                if self._quote and self._quote in line
                else self._plain(lines, ends, place, is_last)
            )
            if found is MORE:
                self.rest = "".join(a + b for a, b in zip(lines[place:], ends[place:], strict=True)) + self.rest
                return
            if found is None:
                self._report(ROW_DAMAGED, f"a quote {self._quote!r} is not closed, or closed within a value")
            elif (row := self._fitted(found[0])) is not None:
                if is_replaced and any(_REPLACEMENT in value for value in row):
                    self._report(ROW_NOT_DECODED, f"not {self._dialect.encoding.removesuffix('-sig').upper()} text")
                self.num_rows += 1
                yield first + place + 1, row
            place += found[1] if found is not None else 1
        self.line = first + place - is_last

    def _split(self, text: str, is_last: bool) -> tuple[list[str], list[str], str]:
        """Lines, their ends, and the unfinished line after them."""
        tail = ""
        if not self._dialect.has_usual_line_ends:
            end = self._dialect.line_end
            lines = text.split(end)
            ends = [end] * (len(lines) - 1)
            lines = [line.lstrip("\r\n") for line in lines]
        elif "\r" in text:
            if not is_last and text.endswith("\r"):
                text, tail = text[:-1], "\r"
            pieces = _LINE_END.split(text)
            lines, ends = pieces[::2], pieces[1::2]
        else:
            lines = text.split("\n")
            ends = ["\n"] * (len(lines) - 1)
        if is_last:
            return lines, [*ends, ""], ""
        return lines[:-1], ends, lines[-1] + tail

    def _report(self, reason: str, rule: str) -> None:
        self._on_damage(DamagedRow(self._where, self.line + 1, reason, rule))

    def _fitted(self, values: list[str]) -> list[str] | None:
        """The fields, as many as in the header; None for a ragged row."""
        width, found = self.width, len(values)
        if width is None:
            return values + [""] * (self.min_width - found) if found < self.min_width else values
        if found == width:
            return values
        if found > width and not any(values[width:]):
            return values[:width]
        if found < width and self._is_padded:
            return values + [""] * (width - found)
        self._report(ROW_RAGGED, f"{found} fields, but the header has {width}")
        return None

    def _plain(self, lines: list[str], ends: list[str], place: int, is_last: bool) -> _Found:
        """A row without quotes. A short line that another kind of line end than the file's cuts is joined to the next ones when
        together they have the header's number of fields: the line end is part of a value."""
        line, delimiter = lines[place], self._delimiter
        values = line.split(delimiter)
        width = self.width or self.min_width
        if len(values) >= width or self._quote or not self._is_inner(ends[place]):
            return values, 1
        for last in range(place + 1, min(place + _MAX_JOINED_LINES, len(lines))):
            line += ends[last - 1] + lines[last]
            joined = line.split(delimiter)
            if len(joined) == width and not self._is_inner(ends[last]):
                return joined, last - place + 1
            if len(joined) > width or not self._is_inner(ends[last]):
                return values, 1
        return (values, 1) if is_last or place + _MAX_JOINED_LINES < len(lines) else MORE

    def _is_inner(self, end: str) -> bool:
        return (end == "\r" and self.usual_end in {"\n", "\r\n"}) or (end == "\n" and self.usual_end == self._dialect.line_end == "\r\n")

    def _quoted(self, lines: list[str], ends: list[str], place: int, is_last: bool) -> _Found:
        """A row with quotes; None if they do not match, MORE if the row may continue after the text."""
        line = lines[place]
        strict = self._fields(lines, ends, place, is_last)
        whole = strict if isinstance(strict, tuple) and self._has_width(strict[0]) else None
        if whole is not None and whole[1] == 1:
            return whole
        escaped = self._escaped(lines, ends, place) if "\\" + self._quote in line else None
        if escaped is not None and (whole is None or escaped[1] < whole[1]):
            return escaped
        if strict is MORE or (strict is not None and strict[1] == 1):
            return strict
        if strict is not None:
            return whole if whole is not None and not self._are_rows(lines[place : place + whole[1]]) else None
        lenient = self._fields([line], [""], 0, True, is_lenient=True)
        return lenient if isinstance(lenient, tuple) and self._has_width(lenient[0]) else None

    def _has_width(self, values: list[str]) -> bool:
        return self.width is None or len(values) == self.width or (self._is_padded and len(values) < self.width)

    def _escaped(self, lines: list[str], ends: list[str], place: int) -> _Row | None:
        """The row parsed with backslash-escaped quotes; None if that does not give the header's number of fields."""
        quote, some = self._quote, slice(place, place + _MAX_ESCAPED_LINES)
        doubled = [line.replace("\\" + quote, quote * 2) for line in lines[some]]
        found = self._fields(doubled, ends[some], 0, True)
        return found if isinstance(found, tuple) and self._has_width(found[0]) else None

    def _are_rows(self, lines: list[str]) -> bool:
        """True when lines that one quoted value would span look like rows of their own: a stray quote, not a value of several lines.

        Each has the header's number of fields, its quotes taken as text, and begins with the same kind of id as the first.
        """
        if self.width is None or self.width < 2:
            return False
        kinds = set()
        for number, line in enumerate(lines):
            values = line.split(self._delimiter) if number == 0 else self.line_fields(line)
            if values is None or len(values) != self.width:
                return False
            kinds.add(_kind(values[0]))
        return len(kinds) == 1

    def line_fields(self, line: str) -> list[str] | None:
        """The fields of a single line; None if its quotes do not match."""
        if not self._quote:
            return line.split(self._delimiter)
        found = self._fields([line], [""], 0, True)
        return found[0] if isinstance(found, tuple) else None

    def _fields(self, lines: list[str], ends: list[str], place: int, is_last: bool, is_lenient: bool = False) -> _Found:
        """The row that begins at `place`; None if its quotes do not match, MORE if the text ends inside it.

        A quote inside an unquoted value is text. With `is_lenient`, text after a closing quote is kept too.
        """
        delimiter, quote = self._delimiter, self._quote
        values: list[str] = []
        row, at = place, 0
        while True:
            text = lines[row]
            if text.startswith(quote, at):
                opened = self._quoted_value(lines, ends, row, at + 1, is_last)
                if opened is None or opened is MORE:
                    return opened
                value, row, at = opened
                text = lines[row]
                if row - place >= MAX_ROW_LINES or (at < len(text) and not (is_lenient or text.startswith(delimiter, at))):
                    return None
            else:
                value = ""
            end = text.find(delimiter, at)
            end = len(text) if end < 0 else end
            values.append(value + text[at:end])
            if end >= len(text):
                return values, row - place + 1
            at = end + 1

    def _quoted_value(
        self, lines: list[str], ends: list[str], row: int, at: int, is_last: bool
    ) -> tuple[str, int, int] | Literal[_Progress.MORE] | None:
        """(value, its last line, position after its closing quote) of the value whose opening quote is before `at`."""
        quote, first, num_chars = self._quote, row, 0
        text, parts = lines[row], list[str]()
        while (close := text.find(quote, at)) < 0 or text.startswith(quote, close + 1):
            if close >= 0:
                parts.append(text[at : close + 1])
                at = close + 2
                continue
            parts += [text[at:], ends[row]]
            num_chars += len(text)
            row, at = row + 1, 0
            if row - first >= MAX_ROW_LINES or num_chars > MAX_ROW_CHARS or (row >= len(lines) and is_last):
                return None
            if row >= len(lines):
                return MORE
            text = lines[row]
        return "".join((*parts, text[at:close])), row, close + 1


def split_line(line: str, dialect: Dialect) -> list[str]:
    """The fields of one line, such as a header; split at every delimiter if its quotes do not match."""
    return RowScanner(dialect, "", refuse).line_fields(line) or line.split(dialect.delimiter)


def _kind(text: str) -> frozenset[str]:
    """The classes of characters in an id: digits, letters, spaces, others."""
    classes = ("digit" if c.isdigit() else "letter" if c.isalpha() else "space" if c.isspace() else "other" for c in text[:100])
    return frozenset(classes)
