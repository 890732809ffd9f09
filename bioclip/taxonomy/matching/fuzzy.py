"""Usages with a similar name: the same epithet stem, then few edits within the genus, then few edits of the genus.

Stems are those of `bioclip.taxonomy.names.stemming`. Edits are counted as optimal string alignment (Damerau-Levenshtein without
edits between the swapped letters), by RapidFuzz.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa
from rapidfuzz import process
from rapidfuzz.distance import OSA

from bioclip.taxonomy.index.lookup import BackboneIndex, Candidate
from bioclip.taxonomy.matching.decisions import MatchType
from bioclip.taxonomy.matching.scoring import Query
from bioclip.taxonomy.names.authorship import compare_authorship, is_other_publication
from bioclip.taxonomy.names.keys import name_key
from bioclip.taxonomy.names.stemming import stem_key, stems_of

_SHORT_EPITHET, _LEAST_EPITHET, _LEAST_GENUS, _LONG_GENUS = 6, 4, 4, 8
_STEM_PENALTY, _EDIT_PENALTY, _NEXT_EDIT_PENALTY, _GENUS_PENALTY = 8, 30, 8, 50
_RARE_GENUS_PENALTY, _SHORT_GENUS, _FEW = 36, 7, 3
"""An edited genus needs an author or a classification that agrees below the kingdom, unless it is long and its epithet rare: genera
often differ by only a letter or two."""
_ELEMENTS = (("micro", "macro"), ("brachy", "trachy"), ("rugi", "rufi"), ("hypo", "hyper"))
"""Prefixes of epithets that are different words despite differing by only a letter or two."""
_ALL_ELEMENTS = tuple(element for pair in _ELEMENTS for element in pair)
_NUM_CACHED = 2_048


@dataclass(frozen=True, slots=True)
class NearCandidate:
    """A usage with how it was found, and the score penalty for that."""

    candidate: Candidate
    match_type: MatchType
    penalty: int
    num_edits: int = 0


@dataclass(frozen=True, slots=True)
class _Below:
    """The usages below a genus or species: the first row, and of each from there on the epithet (None for more words) and the stems."""

    first: int
    epithets: Sequence[str | None]
    stems: Sequence[str]


def is_backed(query: Query, near: NearCandidate) -> bool:
    """Whether a near name has what its kind needs.

    Another author or year makes it another name. Two edits of an epithet, another word at its beginning and another genitive at its end
    need the same author, since congeners are often so called and a classification does not distinguish these.
    """
    if near.match_type not in {MatchType.STEM, MatchType.FUZZY}:
        return True
    if is_other_publication(query.authorship, near.candidate.authorship):
        return False
    given, known = name_key(query.name).partition(" "), name_key(near.candidate.name).partition(" ")
    is_same_genus = given[0] == known[0]
    epithets = [name.rpartition(" ")[2] for name in (given[2], known[2])]
    is_other = is_same_genus and (near.num_edits > 1 or _is_other_word(*epithets))
    if not is_other and not _is_other_person(*epithets):
        return True
    return compare_authorship(query.authorship, near.candidate.authorship) > 0


def _is_other_person(one: str, other: str) -> bool:
    return _genitive(one) != _genitive(other) and one.replace("ae", "e") != other.replace("ae", "e")


def _genitive(epithet: str) -> str:
    """The ending of an epithet that is formed from a person's name: one man, one woman, several; empty for other epithets."""
    return next((ending for ending in ("orum", "arum", "ae", "i") if epithet.endswith(ending)), "")


def _is_other_word(one: str, other: str) -> bool:
    return one.startswith(_ALL_ELEMENTS) and any(
        (one.startswith(a) and other.startswith(b)) or (one.startswith(b) and other.startswith(a)) for a, b in _ELEMENTS
    )


class FuzzyIndex:
    """NearCandidate names of one backbone. Recently used genera and stems are cached, which speeds up sorted names."""

    def __init__(self, index: BackboneIndex) -> None:
        self._index, self._keys = index, index.column("key")
        self._below = lru_cache(_NUM_CACHED)(self._read_below)
        self._genera = lru_cache(_NUM_CACHED)(self._read_genera)

    def stemmed(self, name: str) -> list[NearCandidate]:
        """Usages of the same genus whose epithets have the same stems."""
        genus, _, epithets = name_key(name).partition(" ")
        below, wanted = self._below(genus), stems_of(epithets)
        rows = [row for row, stem in enumerate(below.stems, below.first) if stem == wanted] if wanted in below.stems else []
        return [NearCandidate(candidate, MatchType.STEM, _STEM_PENALTY) for candidate in self._index.candidates_at(rows)]

    def edited(self, name: str) -> list[NearCandidate]:
        """Usages of the same genus (of a name below species: of the same species) whose last epithet is few edits away."""
        parent, _, epithet = name_key(name).rpartition(" ")
        if len(epithet) < _LEAST_EPITHET:
            return []
        most = 1 if len(epithet) <= _SHORT_EPITHET else 2
        below = self._below(parent)
        found = process.extract(epithet, below.epithets, scorer=OSA.distance, score_cutoff=most, limit=None)
        return list(self._nearest({below.first + place: int(edits) for _, edits, place in found})) if found else []

    def _nearest(self, found: dict[int, int]) -> Iterator[NearCandidate]:
        for row, num_edits in sorted(found.items()):
            penalty = _EDIT_PENALTY + _NEXT_EDIT_PENALTY * (num_edits - 1)
            for candidate in self._index.candidates_at([row]):
                yield NearCandidate(candidate, MatchType.FUZZY, penalty, num_edits)

    def of_other_genera(self, name: str) -> list[NearCandidate]:
        """Usages of a genus with a similar name whose epithet has the same stem; these are few, so only their genera are compared."""
        genus, _, epithet = name_key(name).partition(" ")
        if " " in epithet or len(epithet) < _LEAST_EPITHET or len(genus) < _LEAST_GENUS:
            return []
        rows_of = self._genera(stem_key(epithet), genus[0])
        most, is_rare = 1 if len(genus) < _LONG_GENUS else 2, len(genus) >= _SHORT_GENUS and len(rows_of) <= _FEW
        found: list[NearCandidate] = []
        for other, edits, _ in process.extract(genus, list(rows_of), scorer=OSA.distance, score_cutoff=most, limit=None):
            penalty = (_RARE_GENUS_PENALTY if is_rare else _GENUS_PENALTY) + _NEXT_EDIT_PENALTY * (int(edits) - 1)
            found += [
                NearCandidate(candidate, MatchType.FUZZY, penalty, int(edits)) for candidate in self._index.candidates_at(rows_of[other])
            ]
        return found

    def _read_below(self, parent: str) -> _Below:
        rows, cut = self._index.rows_below(parent), len(parent) + 1
        epithets = [key[cut:] for key in self._index.texts("key", rows)]
        return _Below(rows.start, [None if " " in epithet else epithet for epithet in epithets], self._index.texts("stem", rows))

    def _read_genera(self, stem: str, letter: str) -> dict[str, list[int]]:
        """Genera with this first letter that have usages of this stem -> the rows of these."""
        rows = self._index.rows_with_stem(stem, letter)
        found: dict[str, list[int]] = {}
        for row, key in zip(rows, self._keys.take(pa.array(rows, pa.int32())).to_pylist(), strict=True):
            found.setdefault(key.partition(" ")[0], []).append(row)
        return found
