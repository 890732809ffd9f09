"""What a check of a release says, and how a check goes on where a file cannot be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from bioclip.errors import TreeOfLifeError

UNREADABLE = (pa.ArrowException, OSError, TreeOfLifeError, KeyError, IndexError, ValueError, TypeError, AttributeError)
"""What reading a damaged or older file may end in: its parser's errors, also those that storage explains, and values that are none."""
_DETAIL_CHARS = 300


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be: a stable kind, the file, and what was found."""

    kind: str
    name: str
    detail: str


def guarded(name: str, findings: Iterable[Finding]) -> Iterator[Finding]:
    """The findings of a check; where a file lacks what the check reads, that is a finding too, and the check ends."""
    try:
        yield from findings
    except UNREADABLE as error:
        yield Finding("table_unreadable", name, f"{type(error).__name__}: {shortened(error)}")


def shortened(text: object) -> str:
    """One line of at most 300 characters."""
    return " ".join(str(text).split())[:_DETAIL_CHARS]
