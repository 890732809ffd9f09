"""How the text of a table is divided into rows and fields."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, replace

DELIMITERS = "\t,;|"
"""Characters that `guess_delimiter` chooses from; ties go to the first."""
USUAL_LINE_ENDS = frozenset({"\n", "\r", "\r\n"})


@dataclass(frozen=True)
class Dialect:
    """Delimiter, quote, encoding and line end of a table.

    With an empty `quote` the text is split without unquoting, so quotes may occur in values. Lines end in LF, CR or CRLF in
    any mixture; `line_end` is used in their place only when it is another string and the file contains it.
    """

    delimiter: str = ","
    quote: str = '"'
    encoding: str = "utf-8"
    line_end: str = "\n"

    @property
    def has_usual_line_ends(self) -> bool:
        """True when lines end in LF, CR or CRLF."""
        return self.line_end in USUAL_LINE_ENDS

    def adapted_to(self, start: bytes) -> Dialect:
        """The dialect of a file that begins with `start`: a byte order mark decides the encoding, and a declared line end that `start`
        does not contain is replaced by the usual ones."""
        encoding = "utf-8-sig" if start.startswith(codecs.BOM_UTF8) else self.encoding
        is_found = self.has_usual_line_ends or self.line_end in start.decode(encoding, "ignore")
        return replace(self, encoding=encoding, line_end=self.line_end if is_found else "\n")


def guess_delimiter(line: str) -> str:
    """The most frequent of DELIMITERS in a header line."""
    return max(DELIMITERS, key=line.count)
