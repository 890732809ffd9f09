"""Text as a page shows it: cleaned, shortened, and numbers in one format."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_SPACES = re.compile(r"[^\S\N{NO-BREAK SPACE}]+")
_LINKED_SCHEMES = frozenset({"http", "https"})


def plain(text: str) -> str:
    """`text` with runs of white space as one space, and U+FFFD for characters that are invisible or change the direction of text."""
    return _UNPRINTABLE.sub("\ufffd", _SPACES.sub(" ", text))


def shorten(text: str, max_chars: int) -> str:
    """`text` in at most `max_chars` characters; a longer text ends with an ellipsis."""
    return text if len(text) <= max_chars else text[: max_chars - 1].rstrip() + "…"


def is_web_address(url: str) -> bool:
    """True for an http or https URL with a host and without unprintable characters."""
    try:
        parts = urlsplit(url)
        return parts.scheme in _LINKED_SCHEMES and bool(parts.hostname) and not _UNPRINTABLE.search(url)
    except ValueError:
        return False


def number(value: int) -> str:
    """An integer with thousands separated."""
    return f"{value:,}"


def decimal(value: float) -> str:
    """A number with thousands separated and one decimal place, unless it is 0."""
    return f"{value:,.1f}".removesuffix(".0")


def percent(part: float, whole: float = 1.0, digits: int = 1) -> str:
    """A share in percent, on one line with its sign; an em dash when `whole` is 0."""
    return f"{100 * part / whole:.{digits}f}\N{NO-BREAK SPACE}%" if whole else "—"


def count_of(count: int, one: str, several: str = "") -> str:
    """A count with its noun, e.g. `1 genus` or `1,200 genera`; the plural ends in `s` unless it is given."""
    return f"{number(count)} {one if count == 1 else several or f'{one}s'}"
