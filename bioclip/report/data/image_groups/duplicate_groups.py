"""Groups of duplicate images: counts, and a few groups of each kind to show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from bioclip import layout
from bioclip.parquet import read_rows
from bioclip.report.data.counting import SmallestKeys
from bioclip.storage import Storage

KINDS = ("duplicate_near", "duplicate_pixels", "duplicate_bytes")
"""From the least similar to identical; a group has the first kind in this order that one of its members has."""
MAX_GROUPS_PER_KIND = 6
MAX_MEMBERS = 6
_COLUMNS = ["record_id", "group_id", "kept_record_id", "kind", "distance"]

GroupRows = list[dict[str, Any]]


class DuplicateCounter:
    """Counts over all groups, and the rows of the groups to show: the largest of each kind, ties by group id."""

    def __init__(self) -> None:
        self.num_groups = self.num_images = 0
        self.kinds: Counter[str] = Counter()
        self.sizes: Counter[int] = Counter()
        self._chosen = {kind: SmallestKeys(MAX_GROUPS_PER_KIND) for kind in KINDS}

    def add(self, rows: GroupRows) -> None:
        """Count one group; `rows` are all its members."""
        self.num_groups += 1
        self.num_images += len(rows)
        self.sizes[len(rows)] += 1
        kinds = Counter(row["kind"] for row in rows)
        self.kinds.update(kinds)
        kind = next((kind for kind in KINDS if kinds[kind]), KINDS[-1])
        key = f"{10**9 - len(rows):010d} {rows[0]['group_id']}"
        kept_first = sorted(rows, key=lambda row: (row["record_id"] != row["kept_record_id"], row["distance"], row["record_id"]))
        self._chosen[kind].offer(key, (len(rows), kept_first[:MAX_MEMBERS]))

    @property
    def shown(self) -> list[tuple[int, GroupRows]]:
        """(size, first members with the kept one first) of the groups to show."""
        return [group for kind in KINDS for group in self._chosen[kind].values()]


def count_groups(storage: Storage) -> DuplicateCounter | None:
    """Counts the groups of duplicates/groups.parquet; None when duplicates were not searched."""
    if not storage.exists(layout.DUPLICATE_GROUPS):
        return None
    counter = DuplicateCounter()
    for _, rows in _grouped(storage):
        counter.add(rows)
    return counter


def _grouped(storage: Storage) -> Iterator[tuple[str, GroupRows]]:
    rows = read_rows(storage, layout.DUPLICATE_GROUPS, _COLUMNS)
    return ((group_id, list(members)) for group_id, members in groupby(rows, key=lambda row: row["group_id"]))
