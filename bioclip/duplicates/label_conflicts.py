"""Label noise: one photograph under several accepted names."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bioclip.records import RANKS

LABEL_CONFLICT = "label_conflict"

Rule = Literal["keep", "drop", "majority"]


@dataclass(frozen=True)
class ConflictingMember:
    """A row of LABEL_CONFLICT_SCHEMA."""

    group_id: str
    record_id: str
    kind: str
    distance: int
    rank: str
    accepted_name: str
    verbatim_name: str
    decision: str


@dataclass(frozen=True)
class Conflicts:
    """Members of all conflicting groups, the kept images that the rule drops with the names that contend, and counts."""

    members: tuple[ConflictingMember, ...]
    dropped: Mapping[str, str]
    notes: Mapping[str, int]


def find_conflicts(rows: Iterable[Mapping[str, Any]], rule: Rule) -> Conflicts:
    """Groups whose members carry different names of one rank after reconciliation.

    Rows have the columns of DUPLICATE_SCHEMA (all but diameter, None outside groups), the accepted names by rank and `scientific_name`.
    Synonyms share an accepted name, and a member that is named to a higher rank only agrees with all below it, so neither is a conflict.
    """
    groups: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["kept_record_id"]:
            groups[row["kept_record_id"]].append(row)
    members: list[ConflictingMember] = []
    dropped: dict[str, str] = {}
    for kept, group in sorted(groups.items()):
        if not (rank := conflict_rank(group)):
            continue
        names = Counter(row[rank] for row in group if row[rank])
        keeper = next((row[rank] for row in group if row["record_id"] == kept), None)
        if rule == "drop" or (rule == "majority" and not (keeper and 2 * names[keeper] > names.total())):
            dropped[kept] = f"{rank}: {', '.join(sorted(names))}"
        decision = LABEL_CONFLICT if kept in dropped else "kept"
        members += (_member(row, rank, decision) for row in sorted(group, key=lambda row: str(row["record_id"])))
    notes = {"groups_with_label_conflict": len({member.group_id for member in members}), "images_with_label_conflict": len(members)}
    return Conflicts(tuple(members), dropped, notes)


def conflict_rank(group: Iterable[Mapping[str, Any]]) -> str:
    """The highest rank at which members of a group have different names; empty when they agree."""
    rows = list(group)
    return next((rank for rank in RANKS if len({row[rank] for row in rows if row[rank]}) > 1), "")


def _member(row: Mapping[str, Any], rank: str, decision: str) -> ConflictingMember:
    return ConflictingMember(
        group_id=row["kept_record_id"],
        record_id=row["record_id"],
        kind=row["kind"],
        distance=row["distance"],
        rank=rank,
        accepted_name=row[rank] or "",
        verbatim_name=row["scientific_name"] or "",
        decision=decision,
    )
