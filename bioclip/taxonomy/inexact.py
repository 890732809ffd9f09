"""Usages whose name is nearly the one looked for: the same stem of the epithet, then few edits within the genus, then of the genus itself.

Stems follow what the codes and usage let vary: gender endings, i/j/y, ae/oe/e, doubled letters, h after g, t and r, hyphens. Edits are
counted as optimal string alignment (Damerau-Levenshtein without edits between the swapped letters), by RapidFuzz.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property

import pyarrow.compute as pc
from rapidfuzz import process
from rapidfuzz.distance import OSA

from bioclip.taxonomy.backbone_index import BackboneIndex, Candidate
from bioclip.taxonomy.keys import name_key
from bioclip.taxonomy.resolutions import MatchType

_SHORT_EPITHET, _LEAST_EPITHET, _LEAST_GENUS, _LONG_GENUS = 6, 4, 4, 8
_STEM_PENALTY, _EDIT_PENALTY, _NEXT_EDIT_PENALTY, _GENUS_PENALTY = 8, 30, 8, 32
_REWRITES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in ((r"-", ""), (r"[ao]e", "e"), (r"[jy]", "i"), (r"([gtr])h", r"\1"), (r"(.)\1+", r"\1"))
)
_PLACE = re.compile(r"ens(?:is|e|em)$")
_ENDING = re.compile(r"(?:orum|arum|us|um|is|os|on|a|e|i)$")
_LEAST_STEM = 3


@dataclass(frozen=True, slots=True)
class Near:
    """A usage with how it was found, and what that takes off its score."""

    candidate: Candidate
    match_type: MatchType
    penalty: int
    num_edits: int = 0


@cache
def stem_key(epithet: str) -> str:
    """The part of an epithet (of a key: lower-case ASCII) that spellings share; the same for what it gives back."""
    for pattern, replacement in _REWRITES:
        epithet = pattern.sub(replacement, epithet)
    cut = _ENDING.sub("", _PLACE.sub("ens", epithet))
    return cut if len(cut) >= _LEAST_STEM else epithet


class InexactIndex:
    """Near names of one backbone; what it needs beyond the sorted keys is made when first asked for."""

    def __init__(self, index: BackboneIndex) -> None:
        self._index = index

    def stemmed(self, name: str) -> list[Near]:
        """Usages of the same genus whose epithets have the same stems."""
        genus, _, epithets = name_key(name).partition(" ")
        wanted = _stems(epithets)
        rows = [row for row, other in self._epithets(genus) if _stems(other) == wanted]
        return [Near(candidate, MatchType.STEM, _STEM_PENALTY) for candidate in self._index.candidates_at(rows)]

    def edited(self, name: str) -> list[Near]:
        """Usages of the same genus whose epithet is the fewest edits away; else of a genus nearly so called, with its stem."""
        genus, _, epithet = name_key(name).partition(" ")
        if " " in epithet or len(epithet) < _LEAST_EPITHET:
            return []
        most = 1 if len(epithet) <= _SHORT_EPITHET else 2
        found: dict[int, int] = {}
        for row, other in self._epithets(genus):
            if " " not in other and (num_edits := OSA.distance(epithet, other, score_cutoff=most)) <= most:
                found[row] = num_edits
        if found:
            return list(self._nearest(found))
        return self._other_genera(genus, epithet)

    def _nearest(self, found: dict[int, int]) -> Iterator[Near]:
        for row, num_edits in sorted(found.items()):
            penalty = _EDIT_PENALTY + _NEXT_EDIT_PENALTY * (num_edits - 1)
            for candidate in self._index.candidates_at([row]):
                yield Near(candidate, MatchType.FUZZY, penalty, num_edits)

    def _other_genera(self, genus: str, epithet: str) -> list[Near]:
        if len(genus) < _LEAST_GENUS:
            return []
        names = self._genera.get(genus[0], [])
        most = 1 if len(genus) < _LONG_GENUS else 2
        found: list[Near] = []
        for other, edits, _ in process.extract(genus, names, scorer=OSA.distance, score_cutoff=most, limit=None):
            rows = [row for row, known in self._epithets(other) if " " not in known and stem_key(known) == stem_key(epithet)]
            penalty = _GENUS_PENALTY + _NEXT_EDIT_PENALTY * (int(edits) - 1)
            found += [Near(candidate, MatchType.FUZZY, penalty, int(edits)) for candidate in self._index.candidates_at(rows)]
        return found

    def _epithets(self, genus: str) -> Iterator[tuple[int, str]]:
        """(row, rest of the key) of each usage below a genus."""
        prefix = f"{genus} "
        for row, key in self._index.rows_with_prefix(prefix):
            yield row, key[len(prefix) :]

    @cached_property
    def _genera(self) -> dict[str, list[str]]:
        """Genera that have usages below them, by first letter."""
        keys = self._index.column("key")
        below = keys.filter(pc.match_substring(keys, " "))
        found: dict[str, list[str]] = {}
        for name in pc.unique(pc.utf8_slice_codeunits(below, 0, 40)).to_pylist():
            genus = name.partition(" ")[0]
            names = found.setdefault(genus[:1], [])
            if not names or names[-1] != genus:
                names.append(genus)
        return found


def _stems(epithets: str) -> tuple[str, ...]:
    return tuple(stem_key(epithet) for epithet in epithets.split(" "))
