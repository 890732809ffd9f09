"""Names to look up for a record: the whole name, its certain parts from the species up, then the rank columns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from operator import attrgetter

from bioclip.records import RANKS
from bioclip.taxonomy.matching.decisions import VerbatimLineage
from bioclip.taxonomy.matching.scoring import Query, is_name_of_rank, normalise_taxon
from bioclip.taxonomy.names.batch_parsing import is_plain_uninomial
from bioclip.taxonomy.names.parsing import NameType, ParsedName, clean_name, parse_name, placeholder_name
from bioclip.taxonomy.names.ranks import UNSPECIFIC_RANK, Lineage, asked_rank, is_infrageneric, is_suprageneric, normalise_rank

_VERBATIM_TYPES = {NameType.VIRUS, NameType.IDENTIFIER, NameType.FORMULA}
"""Types whose strings have no parts, but may occur verbatim in a backbone."""
_OPEN_TYPES = {NameType.INFORMAL, NameType.FORMULA}
_SAYS_NOTHING = {NameType.EMPTY, NameType.PLACEHOLDER, NameType.NON_TAXON, NameType.IDENTIFIER, NameType.UNPARSABLE}
_STATED = attrgetter(*(field.name for field in fields(VerbatimLineage)[3:9]))
_WITHOUT_UMLAUTS = str.maketrans("äöüÄÖÜ", "aouAOU")
"""Zoological names of 1985 and later drop the dots (ICZN art. 32.5.2.1)."""
_NUM_CACHED = 65_536


@dataclass(frozen=True, slots=True)
class Lookup:
    """A name to look up; `is_name` if it is the whole certain part of the record's name."""

    query: Query
    is_name: bool
    may_vary: bool = True
    """False for names of which no other spelling is looked up."""
    is_verbatim: bool = False
    """The whole string is looked up, not a name read from it."""


_INITIAL = re.compile(r"([A-Z][a-z]{0,2})\. ?(?=[a-z]{2})")


def name_to_parse(verbatim: VerbatimLineage) -> str:
    """The scientific name, its initial completed by the column `genus`; where it is missing or an epithet, the binomial of the columns."""
    if placeholder_name(verbatim.scientific_name):
        return verbatim.scientific_name.strip()
    name, genus, epithet = (clean_name(part) for part in (verbatim.scientific_name, verbatim.genus, verbatim.specific_epithet))
    if (initial := _INITIAL.match(name)) and genus.isalpha() and genus.startswith(initial[1]):
        name = f"{genus} {name[initial.end() :]}"
    is_epithet = name.isalpha() and name.islower() and normalise_rank(verbatim.taxon_rank) in {"", "species"}
    if not name:
        return _binomial(genus, epithet)
    return f"{genus} {name}" if is_epithet and genus and name.casefold() != genus.casefold() else name


def _binomial(genus: str, epithet: str) -> str:
    """A column `species` contains an epithet (with another below it), the whole name, or the genus again."""
    first, _, rest = epithet.partition(" ")
    if not epithet or (epithet == genus and epithet[:1].isupper()):
        return epithet
    if rest and (first.casefold() == genus.casefold() or not first.islower() or not genus):
        return epithet
    return f"{genus} {epithet}" if genus else ""


def lookups_of(verbatim: VerbatimLineage, parsed: ParsedName, implied: str = "") -> Iterator[Lookup]:
    """Names to look up, from the most specific to the highest; `implied` is the kingdom that the rank columns imply."""
    if parsed.type is NameType.NON_TAXON:
        return
    lineage = stated_lineage(verbatim)
    is_listed_so = parsed.type in _VERBATIM_TYPES or (parsed.type is NameType.UNPARSABLE and " " in parsed.verbatim.strip())
    for text in dict.fromkeys((placeholder_name(parsed.verbatim), clean_name(parsed.verbatim) if is_listed_so else "")):
        if text:
            yield Lookup(Query(text, "", "", lineage, implied), True, may_vary=False, is_verbatim=True)
    if parsed.type is NameType.VIRUS:
        return
    asked: set[str] = {""}
    lookups = list(_lookups_of_name(verbatim, parsed, lineage, implied))
    if not parsed.verbatim.isascii() and (bare := parsed.verbatim.translate(_WITHOUT_UMLAUTS)) != parsed.verbatim:
        bare_lookups = _lookups_of_name(verbatim, parse_name(bare), lineage, implied)
        lookups = [*(replace(one, may_vary=False) for one in bare_lookups if one.is_name), *lookups]
    for lookup in sorted(lookups, key=lambda one: not one.is_name):
        asked.add(lookup.query.name.casefold())
        yield lookup
    for rank, name in zip(reversed(RANKS[:-1]), reversed(lineage[:-1]), strict=True):
        if name and " " not in name and name.casefold() not in asked:
            asked.add(name.casefold())
            yield Lookup(Query(name, rank, "", lineage, implied), False)
            if usual := _usual_name(rank, name):
                yield Lookup(Query(usual, rank, "", lineage, implied), False)


def _lookups_of_name(verbatim: VerbatimLineage, parsed: ParsedName, lineage: Lineage, implied: str) -> Iterator[Lookup]:
    name, full = parsed.canonical_name, parsed.canonical_full
    if not name:
        return
    is_open = parsed.type in _OPEN_TYPES
    rank = _asked_rank(parsed, verbatim.taxon_rank)
    if parsed.infraspecific and not is_open:
        yield Lookup(Query(full, rank, parsed.citation, lineage, implied), True)
        rank = "species"
        if joined := _joined(parsed):
            yield Lookup(Query(joined, rank, parsed.citation, lineage, implied), True)
    is_whole = not is_open and (bool(parsed.infraspecific) or name == full)
    yield Lookup(Query(name, rank, parsed.citation if name == full else "", lineage, implied), is_whole)
    if " " not in name and is_whole:
        for higher_rank in RANKS[:5]:
            if is_name_of_rank(higher_rank, name) and (usual := _usual_name(higher_rank, name)):
                yield Lookup(Query(usual, higher_rank, "", lineage, implied), True)
    if parsed.genus:
        yield Lookup(Query(parsed.genus, "genus", "", lineage, implied), False)


def _joined(parsed: ParsedName) -> str:
    """The binomial of three words that lost their hyphen (`Capsella bursa pastoris`); empty if there is a rank marker between them."""
    genus, epithet, *rest = parsed.canonical_full.split(" ")
    return f"{genus} {epithet}-{rest[0]}" if len(rest) == 1 and parsed.rank == "infraspecific_name" else ""


@lru_cache(maxsize=8)  # asked for more than once for each name
def stated_lineage(verbatim: VerbatimLineage) -> Lineage:
    """Taxa that the rank columns state, cleaned; values that name no taxon (`not_classified`) are omitted."""
    return (*map(stated_taxon, RANKS[:-1], _STATED(verbatim)), "")


@lru_cache(_NUM_CACHED)
def stated_taxon(rank: str, text: str) -> str:
    """The taxon that a rank column names: its canonical name if the parser finds one, else the cleaned text; empty if there is none."""
    if not text or is_plain_uninomial(text):
        return text
    parsed = parse_name(text, "", rank)
    if parsed.type is NameType.SCIENTIFIC and " " not in parsed.canonical_name:
        return parsed.canonical_name
    return "" if parsed.type in _SAYS_NOTHING else clean_name(text)


def _usual_name(rank: str, name: str) -> str:
    """The usual name of a higher taxon; empty if that is `name`."""
    usual = normalise_taxon(rank, name)
    return "" if usual == name.casefold() else usual.capitalize()


def _asked_rank(parsed: ParsedName, stated: str) -> str:
    """The rank of the certain name; a stated rank is used only if the name can have it."""
    words = parsed.canonical_full.count(" ")
    if parsed.type in _OPEN_TYPES:
        return "species" if " " in parsed.canonical_name else ""
    if words == 0:
        rank = asked_rank(stated)
        return rank if is_suprageneric(rank) or is_infrageneric(rank) or rank in {UNSPECIFIC_RANK, "genus"} else ""
    return "species" if words == 1 else parsed.rank
