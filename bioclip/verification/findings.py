"""The result of a check, and how checks continue when a file cannot be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from bioclip.errors import TreeOfLifeError

UNREADABLE = (pa.ArrowException, OSError, TreeOfLifeError, KeyError, IndexError, ValueError, TypeError, AttributeError)
"""Errors of reading a damaged or older file: those of its parser and of the storage, and of values with another type."""
_DETAIL_CHARS = 300


@dataclass(frozen=True)
class Finding:
    """A deviation: a stable kind, the file, and what was found and expected."""

    kind: str
    name: str
    detail: str


def guarded(name: str, findings: Iterable[Finding]) -> Iterator[Finding]:
    """The findings of a check; a file without the expected content ends the check with a finding `table_unreadable`."""
    try:
        yield from findings
    except UNREADABLE as error:
        yield Finding("table_unreadable", name, f"{type(error).__name__}: {shortened(error)}")


def shortened(text: object) -> str:
    """One line of at most 300 characters."""
    return " ".join(str(text).split())[:_DETAIL_CHARS]
