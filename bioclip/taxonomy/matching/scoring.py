"""Scores of a usage for a record: GBIF's integer scores, without those of fuzzy matching.

score = name + classification + authorship + rank + status; the weights are those of GBIF's matching service
(https://github.com/gbif/matching-ws), with these differences: a genus by another author counts -40 instead of -18, an authorship that
agrees counts 2 more for equal authors and 2 more for equal years, and a note on the usage (`auct. non L.`) that is the same counts 20. The
confidence of a score s, after a
bonus of min(5, half the lead over the runner-up) or 5 when there is none, is s up to 80 and 75.8 + 26 (log10(1.5 (s - 70)) - 1) above,
within 0..100.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Set
from dataclasses import dataclass
from functools import cache

from bioclip.delimited.headed import read_packaged
from bioclip.records import RANKS
from bioclip.taxonomy.index.lookup import Candidate
from bioclip.taxonomy.names.authorship import compare_authorship, count_equal_parts, usage_note
from bioclip.taxonomy.names.ranks import UNSPECIFIC_RANK, Lineage, is_infraspecific, is_suprageneric, rank_by_suffix

APART = ("animalia", "plantae", "fungi", "bacteria", "viruses")
"""Names never match across these. Chromista, Protozoa and Archaea differ too much between sources to forbid a match."""

CODES = {
    "zoological": ("animalia", "protozoa"),
    "botanical": ("plantae", "fungi", "chromista", "protozoa"),
    "bacterial": ("bacteria", "archaea"),
    "viral": ("viruses",),
}
"""Nomenclatural code -> the kingdoms (normalised) whose names it governs. Cyanobacteria may also be named under the botanical code."""

_FAR_CODES = {"bacterial", "viral"}
_FAR_KINGDOMS = {"bacteria", "archaea", "viruses"}
AGREEMENT = {"kingdom": (5, -10), "phylum": (10, -10), "class": (15, -10), "order": (15, -10), "family": (25, -15), "genus": (2, 1)}
"""Rank -> score when both sides name the same taxon, and when they name different ones."""
_OTHER_AUTHOR_OF_GENUS = -40
_EQUAL_PART_SCORE, _SAME_NOTE_SCORE = 2, 20
"""More than the one point within which taxa are rivals, and more than a misapplied status takes off."""
ELSEWHERE_SCORE = -40
_BELOW_KINGDOM = frozenset({"phylum", "class", "order", "family"})
LEAST_CLASSIFICATION, GREATEST_CLASSIFICATION = -60, 50
STATUS_SCORES = {"accepted": 1, "synonym": 0, "ambiguous_synonym": -1, "doubtful": -5, "misapplied": -10}


@dataclass(frozen=True, slots=True)
class Query:
    """A name with everything else that its record states."""

    name: str
    """Canonical."""
    rank: str
    authorship: str
    lineage: Lineage
    """Verbatim names at RANKS; species stays empty."""
    implied: str = ""
    """The kingdom (normalised) implied by the other ranks if none is stated; it can only forbid a match."""


@dataclass(frozen=True, slots=True)
class ScoredCandidate:
    """A candidate with its score; `evidence` is the score without the status."""

    candidate: Candidate
    evidence: int
    score: int


def score_candidate(query: Query, candidate: Candidate, penalty: int = 0) -> ScoredCandidate | None:
    """The score minus the `penalty` of a variant spelling; None if the kingdoms forbid the match."""
    parts = score_parts(query, candidate, penalty)
    if parts is None:
        return None
    score = sum(parts.values())
    return ScoredCandidate(candidate, score - parts["status"], score)


def score_parts(query: Query, candidate: Candidate, penalty: int = 0) -> dict[str, int] | None:
    """The parts of the score; None if the kingdoms forbid the match."""
    classification = _classification(query, candidate)
    if classification is None:
        return None
    return {
        "name": name_score(query.name) - penalty,
        "classification": classification,
        "authorship": authorship_score(query.authorship, candidate.authorship, candidate.rank),
        "rank": rank_score(query.rank, candidate.rank),
        "status": STATUS_SCORES[candidate.status],
    }


def name_score(name: str) -> int:
    """Points for an exact name: a binomial is more specific than one word."""
    return 110 if " " in name else 100


@cache
def confidence(score: int, lead: int | None) -> int:
    """0-100 from a score and its lead over the runner-up, None when there is none."""
    total = score + (5 if lead is None else min(5, lead // 2))
    value = total if total <= 80 else round(75.8 + 26 * (math.log10(1.5 * (total - 70)) - 1))
    return max(0, min(100, value))


@cache
def normalise_taxon(rank: str, name: str) -> str:
    """A higher taxon's name for comparison, in lower case; other names of one taxon (`data/rank_synonyms.csv`) give the usual one."""
    name = " ".join(name.split()).casefold()
    return usual_names().get((rank, name), name)


def is_name_of_rank(rank: str, name: str) -> bool:
    """Whether another name of a higher taxon can be used alone: one of our list, or one whose ending indicates this rank. A genus can
    have the name of a former class."""
    return (rank, name.casefold()) in _own_names() or rank_by_suffix(name) == rank


@cache
def _own_names() -> frozenset[tuple[str, str]]:
    return frozenset((row["rank"], row["name"].casefold()) for row in read_packaged("bioclip.taxonomy", "data/rank_synonyms.csv"))


@cache
def usual_names() -> dict[tuple[str, str], str]:
    """(rank, another name) -> the usual name, all in lower case. `rank_synonyms.csv` takes precedence over GBIF's dictionaries."""
    found: dict[tuple[str, str], str] = {}
    for file in ("higher_taxon_synonyms.csv", "rank_synonyms.csv"):
        rows = read_packaged("bioclip.taxonomy", f"data/{file}")
        found |= {(row["rank"], row["name"].casefold()): row["usual_name"].casefold() for row in rows}
    return found


def agreements(query: Query, candidate: Candidate) -> Iterator[tuple[str, str, str, bool]]:
    """(rank, given, known, whether they are one taxon) for each rank above the species where record and candidate both name a taxon."""
    for rank, given, known in zip(RANKS[:-1], query.lineage, candidate.taxon.lineage, strict=False):
        if given and known:
            one, other = normalise_taxon(rank, given), normalise_taxon(rank, known)
            is_same = one == other or (rank == "genus" and one == candidate.name.partition(" ")[0].casefold())
            yield rank, one, other, is_same or (rank == "kingdom" and is_under_code(one, other))


def contradictions(query: Query, candidate: Candidate) -> str:
    """The ranks at which the record names another taxon than the candidate's lineage has, comma-separated from the kingdom down."""
    return ",".join(rank for rank, _, _, is_same in agreements(query, candidate) if not is_same)


@cache
def is_under_code(code: str, kingdom: str) -> bool:
    """Whether a nomenclatural code, stated in place of a kingdom, governs the names of this one."""
    return kingdom in CODES.get(code, ())


@cache
def kingdom_score(one: str, other: str, is_uninomial: bool = False) -> int | None:
    """Points for two kingdoms (normalised; the first may be one of CODES); None for a veto. Single words often name both an animal and
    an alga, so they do not match across these."""
    agree, differ = AGREEMENT["kingdom"]
    if is_uninomial and {one, other} == {"animalia", "chromista"}:
        return None
    if one == other or is_under_code(one, other):
        return agree
    governed = [kingdom for kingdom in CODES.get(one, (one,)) if kingdom in APART]
    if governed and other in APART and (one, other) != ("botanical", "bacteria"):
        return None
    is_far = one in _FAR_KINGDOMS or one in _FAR_CODES
    return differ if one == "botanical" or is_far == (other in _FAR_KINGDOMS) else -31


def _classification(query: Query, candidate: Candidate) -> int | None:
    """None for a veto."""
    total = 0
    agreeing: set[str] = set()
    differing: set[str] = set()
    is_uninomial, known = " " not in query.name, candidate.taxon.lineage[0]
    if query.implied and known and kingdom_score(query.implied, normalise_taxon("kingdom", known), is_uninomial) is None:
        return None
    for rank, one, other, is_same in agreements(query, candidate):
        (agreeing if is_same else differing).add(rank)
        score = kingdom_score(one, other, is_uninomial) if rank == "kingdom" else AGREEMENT[rank][0 if is_same else 1]
        if score is None:
            return None
        total += score
    if is_uninomial and is_elsewhere(agreeing, differing):
        total += ELSEWHERE_SCORE
    return max(LEAST_CLASSIFICATION, min(GREATEST_CLASSIFICATION, total))


def is_elsewhere(agreeing: Set[str], differing: Set[str]) -> bool:
    """Whether a record is of another part of the tree: nothing below the kingdom agrees, and phylum, or class and order, differ."""
    return not agreeing & _BELOW_KINGDOM and ("phylum" in differing or {"class", "order"} <= differing)


def authorship_score(given: str, known: str, rank: str) -> int:
    """Points for the author, compared with a usage's author and rank.

    Genera of one name by different authors are usually homonyms.
    """
    if not given or "\ufffd" in given:  # lost letters leave the comparison undecided
        return 0
    agreement, note = compare_authorship(given, known), usage_note(given)
    note_score = _SAME_NOTE_SCORE if note and note == usage_note(known) else 0
    if agreement > 0:
        return 12 + _EQUAL_PART_SCORE * count_equal_parts(given, known) + note_score
    if note_score:
        return note_score
    if agreement < 0:
        return -6 if is_suprageneric(rank) else _OTHER_AUTHOR_OF_GENUS if rank == "genus" else -18
    return 0 if known else -1


@cache
def rank_score(asked: str, known: str) -> int:
    """Points for the requested rank, compared with a usage's rank."""
    if not asked or not known:
        return 0
    if asked == known:
        return 6
    if asked == UNSPECIFIC_RANK:
        return 0 if is_suprageneric(known) else -35
    below, known_below = is_infraspecific(asked), is_infraspecific(known)
    if below and known_below:
        return 5 if "infraspecific_name" in {asked, known} else -5
    if below or known_below:
        return -30
    return -35 if is_suprageneric(asked) != is_suprageneric(known) else -10
