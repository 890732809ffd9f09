"""How the text of a table is divided into rows and fields."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, replace

DELIMITERS = "\t,;|"
"""Characters that `guess_delimiter` chooses from; ties go to the first."""
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks, those that begin like a shorter one first."""
USUAL_LINE_ENDS = frozenset({"\n", "\r", "\r\n"})


@dataclass(frozen=True)
class Dialect:
    """Delimiter, quote, encoding and line end of a table.

    With an empty `quote` the text is split without unquoting, so quotes may occur in values. Lines end in LF, CR or CRLF in
    any mixture; `line_end` is used in their place only when it is another string and the file contains it. With `is_usual`, the delimiter
    is only the usual one: where the first line lacks it, the most frequent of DELIMITERS is taken.
    """

    delimiter: str = ","
    quote: str = '"'
    encoding: str = "utf-8"
    line_end: str = "\n"
    is_usual: bool = False

    @property
    def has_usual_line_ends(self) -> bool:
        """True when lines end in LF, CR or CRLF."""
        return self.line_end in USUAL_LINE_ENDS

    def adapted_to(self, start: bytes) -> Dialect:
        """The dialect of a file that begins with `start`: a byte order mark decides the encoding, a declared line end that `start` does
        not contain is replaced by the usual ones, and so is a usual delimiter that the first line lacks."""
        adapted = replace(self, encoding=next((name for mark, name in _MARKS if start.startswith(mark)), self.encoding))
        text = start.decode(adapted.encoding, "ignore")
        if not (self.has_usual_line_ends or self.line_end in text):
            adapted = replace(adapted, line_end="\n")
        first = next((line for line in text.splitlines() if line.strip()), "")
        if self.is_usual and self.delimiter not in first and (found := guess_delimiter(first)) in first:
            adapted = replace(adapted, delimiter=found, quote="" if found == "\t" and '"' not in first else '"')
        return adapted


def guess_delimiter(line: str) -> str:
    """The most frequent of DELIMITERS in a header line."""
    return max(DELIMITERS, key=line.count)
