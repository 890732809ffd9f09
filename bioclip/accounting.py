"""Counts that must add up: nothing leaves the pipeline without a named reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bioclip.errors import AccountingError


@dataclass(frozen=True)
class Counts:
    """What one piece of work read, wrote and dropped.

    `dropped` maps stable snake_case reasons to numbers; `notes` holds further counts that explain but do not balance
    (requests made, retries that helped). Raises AccountingError unless read = written + sum(dropped).
    """

    read: int = 0
    written: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        num_dropped = sum(self.dropped.values())
        if self.read != self.written + num_dropped:
            raise AccountingError(
                f"read {self.read} but wrote {self.written} and dropped {num_dropped} ({dict(self.dropped)}): "
                "rows were lost or made up; this is a bug, please report it."
            )

    def __add__(self, other: Counts) -> Counts:
        return total([self, other])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, zero counts left out, keys sorted."""
        return {
            "read": self.read,
            "written": self.written,
            "dropped": {k: v for k, v in sorted(self.dropped.items()) if v},
            "notes": {k: v for k, v in sorted(self.notes.items()) if v},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Counts:
        """The counts that `to_dict` wrote; checked again."""
        return cls(values["read"], values["written"], dict(values["dropped"]), dict(values["notes"]))


def total(counts: Iterable[Counts]) -> Counts:
    """The sum of many counts, reason by reason."""
    read = written = 0
    dropped: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    for one in counts:
        read += one.read
        written += one.written
        dropped.update(one.dropped)
        notes.update(one.notes)
    return Counts(read, written, dict(sorted(dropped.items())), dict(sorted(notes.items())))
