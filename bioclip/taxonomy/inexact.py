"""Usages whose name is nearly the one looked for: the same stem of the epithet, then few edits within the genus, then of the genus itself.

Stems are those of `bioclip.taxonomy.stems`. Edits are counted as optimal string alignment (Damerau-Levenshtein without edits between
the swapped letters), by RapidFuzz.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz import process
from rapidfuzz.distance import OSA

from bioclip.taxonomy.backbone_index import BackboneIndex, Candidate, Texts
from bioclip.taxonomy.keys import name_key
from bioclip.taxonomy.resolutions import MatchType
from bioclip.taxonomy.stems import stem_key, stems_of

_SHORT_EPITHET, _LEAST_EPITHET, _LEAST_GENUS, _LONG_GENUS = 6, 4, 4, 8
_STEM_PENALTY, _EDIT_PENALTY, _NEXT_EDIT_PENALTY, _GENUS_PENALTY = 8, 30, 8, 32
_NUM_CACHED = 2_048


@dataclass(frozen=True, slots=True)
class Near:
    """A usage with how it was found, and what that takes off its score."""

    candidate: Candidate
    match_type: MatchType
    penalty: int
    num_edits: int = 0


class InexactIndex:
    """Near names of one backbone. Genera and stems that were looked at lately are kept, so that sorted names are found faster."""

    def __init__(self, index: BackboneIndex) -> None:
        self._index = index
        self._keys, self._by_stem = index.column("key"), index.column("by_stem")
        self._order, self._stems = memoryview(self._by_stem.to_numpy()), Texts(index.column("stem"))
        self._below = lru_cache(_NUM_CACHED)(self._read_below)
        self._with_stem = lru_cache(_NUM_CACHED)(self._read_with_stem)

    def stemmed(self, name: str) -> list[Near]:
        """Usages of the same genus whose epithets have the same stems."""
        genus, _, epithets = name_key(name).partition(" ")
        rows = self._with_stem(stems_of(epithets)).get(genus, ())
        return [Near(candidate, MatchType.STEM, _STEM_PENALTY) for candidate in self._index.candidates_at(rows)]

    def edited(self, name: str) -> list[Near]:
        """Usages of the same genus whose epithet is the fewest edits away; else of a genus nearly so called, with its stem."""
        genus, _, epithet = name_key(name).partition(" ")
        if " " in epithet or len(epithet) < _LEAST_EPITHET:
            return []
        most = 1 if len(epithet) <= _SHORT_EPITHET else 2
        first, epithets = self._below(genus)
        found = process.extract(epithet, epithets, scorer=OSA.distance, score_cutoff=most, limit=None)
        if found:
            return list(self._nearest({first + place: int(edits) for _, edits, place in found}))
        return self._other_genera(genus, epithet)

    def _nearest(self, found: dict[int, int]) -> Iterator[Near]:
        for row, num_edits in sorted(found.items()):
            penalty = _EDIT_PENALTY + _NEXT_EDIT_PENALTY * (num_edits - 1)
            for candidate in self._index.candidates_at([row]):
                yield Near(candidate, MatchType.FUZZY, penalty, num_edits)

    def _other_genera(self, genus: str, epithet: str) -> list[Near]:
        """Genera with a usage of the same stem are few, so only those are compared."""
        if len(genus) < _LEAST_GENUS:
            return []
        rows_of = self._with_stem(stem_key(epithet))
        genera = [other for other in rows_of if other[0] == genus[0]]
        most = 1 if len(genus) < _LONG_GENUS else 2
        found: list[Near] = []
        for other, edits, _ in process.extract(genus, genera, scorer=OSA.distance, score_cutoff=most, limit=None):
            penalty = _GENUS_PENALTY + _NEXT_EDIT_PENALTY * (int(edits) - 1)
            found += [Near(candidate, MatchType.FUZZY, penalty, int(edits)) for candidate in self._index.candidates_at(rows_of[other])]
        return found

    def _read_below(self, genus: str) -> tuple[int, Sequence[str | None]]:
        """The first row below a genus, and the epithet of each row from there on; None for those of more words."""
        prefix = f"{genus} "
        first, end = self._index.first_row(prefix.encode()), self._index.first_row(f"{genus}!".encode())
        epithets = [key[len(prefix) :] for key in self._keys[first:end].to_pylist()]
        return first, [None if " " in epithet else epithet for epithet in epithets]

    def _read_with_stem(self, stem: str) -> dict[str, list[int]]:
        """Genus -> the rows whose epithets have this stem, in the index's order."""
        places, wanted = range(len(self._index)), stem.encode()
        start = bisect_left(places, wanted, key=self._stem_at)
        end = bisect_right(places, wanted, lo=start, key=self._stem_at)
        rows = self._by_stem[start:end]
        found: dict[str, list[int]] = {}
        for row, key in zip(rows.to_pylist(), self._keys.take(rows).to_pylist(), strict=True):
            found.setdefault(key.partition(" ")[0], []).append(row)
        return found

    def _stem_at(self, place: int) -> bytes:
        return self._stems.at(self._order[place])
