"""Rows that cannot be parsed: each is rejected, or counted with its line number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from bioclip.errors import ArchiveError

ROW_DAMAGED = "row_damaged"
"""A quote is not closed, or is closed inside a value, so the end of the row is unknown."""
ROW_RAGGED = "row_ragged"
"""The row has another number of fields than the header."""
ROW_NOT_DECODED = "row_not_decoded"
"""The row has bytes that are invalid in its encoding; they are replaced by U+FFFD and the row is kept."""

MAX_DAMAGED_SHARE = 0.1
"""Default share of damaged rows above which a file is rejected."""
_MIN_ROWS = 100
_MAX_PLACES = 1000


@dataclass(frozen=True, slots=True)
class DamagedRow:
    """One row that does not match its header or dialect; `line` counts from 1."""

    where: str
    line: int
    reason: str
    rule: str

    def __str__(self) -> str:
        return f"{self.where}, line {self.line}: {self.rule}"


OnDamage: TypeAlias = Callable[[DamagedRow], None]
"""Called for each damaged row; it raises, or returns to skip the row."""


def refuse(row: DamagedRow) -> None:
    """Raise ArchiveError; for hand-written files, whose first error must be corrected."""
    raise ArchiveError(f"{row}.")


@dataclass(frozen=True, slots=True)
class DamagedRows:
    """Damaged rows of one reason; `places` are the first of them."""

    reason: str
    count: int
    places: tuple[str, ...]


class DamageLog:
    """Counts damaged rows and rejects a file with more than `max_share` of them.

    The share applies from 100 rows on; a file without a single readable row is always rejected.
    """

    def __init__(self, max_share: float = MAX_DAMAGED_SHARE) -> None:
        self._max_share = max_share
        self._counts: Counter[str] = Counter()
        self._taken: Counter[str] = Counter()
        self._places: dict[str, list[str]] = {}
        self._first: DamagedRow | None = None
        self.num_rows = 0
        """Number of rows read, without damaged ones."""

    def __call__(self, row: DamagedRow) -> None:
        """Count a row."""
        self._first = self._first or row
        self._counts[row.reason] += 1
        places = self._places.setdefault(row.reason, [])
        if len(places) < _MAX_PLACES:
            places.append(str(row))

    def take(self) -> list[DamagedRows]:
        """The counts since the last call."""
        fresh = [DamagedRows(reason, num, tuple(self._places.pop(reason, ()))) for reason, num in (self._counts - self._taken).items()]
        self._taken = Counter(self._counts)
        return fresh

    def check(self) -> None:
        """Raise ArchiveError when too many rows are damaged; called at the end of each file."""
        num_damaged = self._counts.total()
        num_rows = self.num_rows + num_damaged - self._counts[ROW_NOT_DECODED]
        is_most = num_rows >= _MIN_ROWS and num_damaged > self._max_share * num_rows
        if self._first is not None and (is_most or num_damaged >= num_rows):
            raise ArchiveError(
                f"{self._first}; {num_damaged} of {num_rows} rows are damaged, more than the allowed share of {self._max_share:g}. "
                "Correct the file or its delimiter, quote and encoding, or raise max_damaged_share of the source."
            )
