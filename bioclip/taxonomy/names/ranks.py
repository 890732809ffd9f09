"""Ranks from the root down, and their spellings in sources."""

from __future__ import annotations

from functools import cache

from bioclip.records import RANKS

_ORDERED = """
    domain superkingdom kingdom subkingdom infrakingdom superphylum phylum subphylum infraphylum parvphylum superclass class subclass
    infraclass cohort superorder order suborder infraorder parvorder superfamily family subfamily supertribe tribe subtribe genus
    subgenus section subsection series subseries species_aggregate species infraspecific_name subspecies variety subvariety form
    subform cultivar strain
"""
LEVELS = {rank: level for level, rank in enumerate(_ORDERED.split())}
"""Known rank -> position from the root; other ranks have no position."""

_SPELLINGS = {
    "varietas": "variety",
    "var": "variety",
    "forma": "form",
    "f": "form",
    "ssp": "subspecies",
    "subsp": "subspecies",
    "sp": "species",
    "gen": "genus",
    "fam": "family",
    "ord": "order",
    "division": "phylum",
    "subdivision": "subphylum",
    "infraspecies": "infraspecific_name",
    "species_group": "species_aggregate",
    "species_subgroup": "species_aggregate",
    "acellular_root": "superkingdom",
    "cellular_root": "domain",
}
_SUFFIXES = (
    ("idae", "family"), ("aceae", "family"), ("inae", "subfamily"), ("oideae", "subfamily"), ("oidea", "superfamily"), ("iformes", "order"),
    ("ales", "order"), ("mycetes", "class"), ("opsida", "class"), ("phyta", "phylum"), ("mycota", "phylum"), ("ptera", "order"),
)  # fmt: skip


@cache
def normalise_rank(verbatim: str) -> str:
    """The rank in lower case under its usual English name; empty for none, unranked and unknown ones."""
    rank = "_".join(verbatim.strip().rstrip(".").lower().split())
    rank = _SPELLINGS.get(rank, rank)
    return rank if rank in LEVELS else ""


UNSPECIFIC_RANK = "clade"
"""Any rank above genus that has no place in LEVELS."""
_ABOVE_GENUS = (
    "branch", "clade", "class", "cohort", "division", "domain", "family", "grade", "kingdom", "legion", "order", "phylum", "realm", "tribe",
)  # fmt: skip


@cache
def asked_rank(verbatim: str) -> str:
    """The rank that a record states: as `normalise_rank`, and UNSPECIFIC_RANK for unknown ones above genus (`clade`, `megaclass`)."""
    rank = normalise_rank(verbatim)
    return rank or (UNSPECIFIC_RANK if verbatim.strip().rstrip(".").lower().endswith(_ABOVE_GENUS) else "")


def is_infrageneric(rank: str) -> bool:
    """True for ranks between genus and species."""
    return LEVELS["genus"] < LEVELS.get(rank, -1) < LEVELS["species_aggregate"]


def is_infraspecific(rank: str) -> bool:
    """True for ranks below species."""
    return LEVELS.get(rank, -1) > LEVELS["species"]


def is_suprageneric(rank: str) -> bool:
    """True for ranks above genus."""
    return LEVELS.get(rank, len(LEVELS)) < LEVELS["genus"]


def is_linnaean(rank: str) -> bool:
    """True for the seven ranks of a label."""
    return rank in RANKS


def rank_by_suffix(uninomial: str) -> str:
    """The rank that a name's ending implies under the codes (`-idae`: family), or an empty string."""
    name = uninomial.lower()
    return next((rank for suffix, rank in _SUFFIXES if name.endswith(suffix) and len(name) > len(suffix) + 2), "")


Lineage = tuple[str, ...]
"""Names at the seven RANKS, empty where there is none."""

EMPTY_LINEAGE: Lineage = ("",) * len(RANKS)
