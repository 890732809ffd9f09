"""Counts that must add up: nothing leaves the pipeline without a named reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import InitVar, dataclass, field
from typing import Any

from bioclip.drop_reasons import deciding_setting, find_reason
from bioclip.errors import AccountingError, NothingLeftError


@dataclass(frozen=True)
class Counts:
    """What one piece of work read, wrote and dropped.

    `dropped` maps reasons of `bioclip.drop_reasons` to numbers; `notes` holds further counts that explain but do not balance
    (requests made, retries that helped). Raises AccountingError unless read = written + sum(dropped), and for an unknown reason.
    """

    read: int = 0
    written: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, int] = field(default_factory=dict)
    is_history: InitVar[bool] = False
    """True for counts that an earlier version may have written: their reasons are not checked."""

    def __post_init__(self, is_history: bool) -> None:
        num_dropped = sum(self.dropped.values())
        if self.read != self.written + num_dropped:
            raise AccountingError(
                f"read {self.read} but wrote {self.written} and dropped {num_dropped} ({dict(self.dropped)}): "
                "rows were lost or made up; this is a bug, please report it."
            )
        unknown = [] if is_history else sorted(name for name in self.dropped if find_reason(name) is None)
        if unknown:
            raise AccountingError(
                f"drop reason {unknown[0]!r} is not registered; add it with a sentence to bioclip/drop_reasons.py, "
                "or to the SourceFormat that uses it."
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
        """The counts that `to_dict` wrote; the balance is checked again."""
        return cls(values["read"], values["written"], dict(values["dropped"]), dict(values["notes"]), is_history=True)


def check_something_left(what: str, counts: Counts, counts_uri: str) -> None:
    """Raise NothingLeftError when all that was read is dropped; names each reason with its number, sentence and deciding settings.

    `what` names the rows that were read, such as `records`; `counts_uri` is where the counts are.
    """
    if counts.written:
        return
    if not counts.read:
        raise NothingLeftError(f"there are no {what}", counts_uri)
    raise NothingLeftError(f"all {counts.read:,} {what} are dropped: {explain_drops(counts)}", counts_uri)


def explain_drops(counts: Counts) -> str:
    """Each drop reason with its number, sentence and deciding settings, most frequent first."""
    ordered = sorted(counts.dropped.items(), key=lambda item: (-item[1], item[0]))
    return "; ".join(f"{name} {number:,}{_explain_reason(name)}" for name, number in ordered)


def _explain_reason(name: str) -> str:
    reason, setting = find_reason(name), deciding_setting(name)
    parts = [reason.sentence.rstrip(".") if reason else "", f"set by {setting}" if setting else ""]
    return f" ({'; '.join(filter(None, parts))})" if any(parts) else ""


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
    return Counts(read, written, dict(sorted(dropped.items())), dict(sorted(notes.items())), is_history=True)
