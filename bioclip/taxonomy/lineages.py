"""Lineages of a backbone's accepted usages: the path of parents first, the source's own rank columns where it is silent."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from bioclip.records import RANKS
from bioclip.taxonomy.ranks import LEVELS

Lineage = tuple[str, ...]
"""Names at the seven RANKS, empty where there is none."""

EMPTY_LINEAGE: Lineage = ("",) * len(RANKS)
_RANK_LEVELS = tuple(LEVELS[rank] for rank in RANKS)
_SPECIES_LEVEL = LEVELS["species"]
_BINOMIAL = re.compile(r"[A-Z][a-z-]+ [a-z-]{2,}(?: |$)")


class LineageBuilder:
    """Assembles lineages of rows given as parallel columns; `faults` counts what was found wrong on the way.

    `parent_of` gives the row of a row's accepted parent or -1. Each row is visited once; paths of any length and cycles are fine.
    """

    def __init__(self, names: Sequence[str], ranks: Sequence[str], stated: Sequence[Lineage], parent_of: Callable[[int], int]) -> None:
        self._names, self._ranks, self._stated, self._parent_of = names, ranks, stated, parent_of
        self._known: dict[int, Lineage] = {}
        self._shared: dict[Lineage, Lineage] = {}
        self.faults: Counter[str] = Counter()

    def lineage(self, row: int) -> Lineage:
        """The lineage of `row`, itself included."""
        path: list[int] = []
        on_path: set[int] = set()
        while row >= 0 and row not in self._known:
            if row in on_path:
                self.faults["parent_cycle"] += 1
                break
            path.append(row)
            on_path.add(row)
            row = self._parent_of(row)
        above, above_rank = (self._known[row], self._ranks[row]) if row in self._known else (EMPTY_LINEAGE, "")
        for row in reversed(path):
            above = self._extended(row, above, above_rank)
            above_rank = self._ranks[row]
            self._known[row] = above
        return above

    def label_row(self, row: int) -> int:
        """The nearest row at or above `row` whose rank is one of RANKS, or -1."""
        seen: set[int] = set()
        while row >= 0 and row not in seen:
            if self._ranks[row] in RANKS:
                return row
            seen.add(row)
            row = self._parent_of(row)
        return -1

    def _extended(self, row: int, above: Lineage, above_rank: str) -> Lineage:
        rank, name = self._ranks[row], self._names[row]
        level = LEVELS.get(rank, len(LEVELS))
        if rank and above_rank and LEVELS[above_rank] >= level:
            self.faults["rank_order"] += 1
        inherited = (
            higher or own if rank_level < level else ""
            for higher, own, rank_level in zip(above, self._stated[row], _RANK_LEVELS, strict=True)
        )
        lineage = list(inherited)
        if rank in RANKS:
            lineage[RANKS.index(rank)] = name
        if level >= _SPECIES_LEVEL and rank:
            self._complete_species(lineage, name, rank)
        result = tuple(lineage)
        return self._shared.setdefault(result, result)

    def _complete_species(self, lineage: list[str], name: str, rank: str) -> None:
        if not _BINOMIAL.match(name):
            return
        genus, _, rest = name.partition(" ")
        if rank != "species" and not lineage[-1]:
            lineage[-1] = f"{genus} {rest.partition(' ')[0]}"
        if not lineage[-2]:
            lineage[-2] = genus
        elif rank == "species" and lineage[-2] != genus:
            self.faults["species_outside_genus"] += 1
