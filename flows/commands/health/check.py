"""What one check of `treeoflife doctor` found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """The outcome of a check."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Check:
    """One line of the report; `remedy` states what to do, and is empty for OK."""

    name: str
    status: Status
    found: str
    remedy: str = ""


def passed(name: str, found: str) -> Check:
    """A check without a problem."""
    return Check(name, Status.OK, found)


def warned(name: str, found: str, remedy: str) -> Check:
    """A check whose problem does not stop a run."""
    return Check(name, Status.WARN, found, remedy)


def failed(name: str, found: str, remedy: str) -> Check:
    """A check whose problem stops a run."""
    return Check(name, Status.FAIL, found, remedy)
