"""Parses verbatim strings: ordered rules for strings that are not plain names, then GBIF's parser for the rest.

The rules are data. `CLEANING` rewrites the string step by step; the first of `VERDICTS` that matches decides its type and
which part, if any, is a certain name. Open nomenclature (Bengtson 1988; Sigovini et al. 2016) keeps its certain part:
`Abies cf. alba` gives Abies, with the qualifier `cf.`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import nameparser

from bioclip.taxonomy.names.authorship import is_surname
from bioclip.taxonomy.names.casing import restore_case
from bioclip.taxonomy.names.cleaning import clean_name as clean_name
from bioclip.taxonomy.names.cleaning import fold as fold
from bioclip.taxonomy.names.name_types import PLACEHOLDER_NAME, STRAIN, is_no_name, is_plain, type_rules, word_lists
from bioclip.taxonomy.names.name_types import NameType as NameType
from bioclip.taxonomy.names.name_types import not_name_words as not_name_words
from bioclip.taxonomy.names.ranks import normalise_rank, rank_by_suffix


@dataclass(frozen=True, slots=True)
class ParsedName:
    """A parsed string. Names are ASCII, without authorship, rank markers and hybrid signs."""

    verbatim: str
    type: NameType
    canonical_name: str = ""
    """The certain part as a binomial or uninomial; empty when there is none."""
    canonical_full: str = ""
    """All name parts, with the infraspecific epithet and epithets that are not certain."""
    authorship: str = ""
    year: str = ""
    rank: str = ""
    """In lower case; empty if the string does not state it."""
    hybrid: bool = False
    infraspecific: str = ""
    """Epithet below the species."""
    qualifier: str = ""
    """Words that make the name open, e.g. `cf.`, `sp. 3`, `gen. sp.`"""
    note: str = ""
    """The author whose use of the name is meant, e.g. `auct. non L.`, `sensu Blanco`."""

    @property
    def citation(self) -> str:
        """The authorship with the note."""
        return f"{self.authorship} {self.note}".strip()

    @property
    def genus(self) -> str:
        """First word of a binomial, else empty."""
        first, _, rest = self.canonical_name.partition(" ")
        return first if rest else ""


_VERDICT_OF_PARSER = {"PLACEHOLDER": NameType.PLACEHOLDER, "IDENTIFIER": NameType.IDENTIFIER, "FORMULA": NameType.FORMULA}


def parse_name(verbatim: str, authorship: str = "", rank: str = "") -> ParsedName:
    """The parts of `verbatim`; `authorship` and `rank` are the source's own columns. Never raises."""
    rank = normalise_rank(rank)
    text, strain = verbatim, ""
    if placeholder := _match_placeholder(verbatim):
        return _placeholder(verbatim, placeholder)
    if not is_plain(verbatim) or (rank == "species" and not verbatim.partition(" ")[2][:1].islower()):
        text = restore_case(clean_name(verbatim), rank)
        for rule in type_rules():
            if match := rule.pattern.fullmatch(text):
                return _judged(verbatim, rule.type, match)
        if tail := STRAIN.search(text):
            text, strain = text[: tail.start()], tail["strain"]
    parsed = _parsed(verbatim, text, authorship, rank)
    return replace(parsed, type=NameType.INFORMAL, qualifier=strain) if strain and parsed.canonical_name else parsed


def _match_placeholder(verbatim: str) -> re.Match[str] | None:
    return PLACEHOLDER_NAME.fullmatch(verbatim.strip()) if "_" in verbatim or " sp0" in verbatim else None


def _placeholder(verbatim: str, match: re.Match[str]) -> ParsedName:
    if genus := match["certain"]:
        return ParsedName(verbatim, NameType.INFORMAL, genus, genus, qualifier=match["name"].removeprefix(genus).strip())
    return ParsedName(verbatim, NameType.IDENTIFIER)


def placeholder_name(verbatim: str) -> str:
    """A name of the Genome Taxonomy Database for a taxon without a valid one, as it is listed there; empty for other strings."""
    match = _match_placeholder(verbatim)
    return (match["name"] or match["code"]) if match else ""


def _judged(verbatim: str, kind: NameType, match: re.Match[str]) -> ParsedName:
    groups = match.groupdict("")
    taxon = fold(groups.get("taxon", ""))
    taxon = taxon.capitalize() if taxon.islower() else taxon
    full = f"{taxon} {fold(groups.get('open', ''))}".strip()
    return ParsedName(verbatim, kind, taxon, full, qualifier=groups.get("qualifier", ""), hybrid=kind is NameType.FORMULA)


_PARTICLE_EPITHET = re.compile(r"[A-Z][a-z]+ (?:da|de|del|den|der|di|do|dos|du|el|la|le|los|ten|van|ver|von|zu)")
"""A genus and one word: an author would follow a particle."""


def _parsed(verbatim: str, text: str, authorship: str, rank: str) -> ParsedName:
    if rank in {"", "species"} and _PARTICLE_EPITHET.fullmatch(text):
        rank = "species"
    try:
        parsed = nameparser.parse(text, authorship.strip() or None, rank.upper() or None)
    except nameparser.UnparsableNameError as error:
        kind = NameType.VIRUS if error.code == "VIRUS" else _VERDICT_OF_PARSER.get(error.name_type, NameType.UNPARSABLE)
        return ParsedName(verbatim, kind, hybrid=kind is NameType.FORMULA)
    if isinstance(parsed, nameparser.Informal):
        return ParsedName(verbatim, NameType.INFORMAL, fold(parsed.taxon), fold(parsed.taxon), qualifier=parsed.phrase or "indet.")
    return _certain(_structured(verbatim, parsed), parsed, text)


def parse_names(verbatims: Iterable[str]) -> list[ParsedName]:
    """`parse_name` of each distinct string, in the order given."""
    known = {verbatim: parse_name(verbatim) for verbatim in dict.fromkeys(verbatims)}
    return [known[verbatim] for verbatim in verbatims]


def _structured(verbatim: str, parsed: nameparser.ParsedName) -> ParsedName:
    genus, epithet = fold(parsed.genus or ""), fold(parsed.specific_epithet or "")
    name = " ".join(part for part in (genus, epithet) if part) or fold(parsed.uninomial or "")
    infrageneric = "" if epithet else fold(parsed.infrageneric_epithet or "")
    infraspecific = fold(parsed.infraspecific_epithet or "")
    authorship, rank = parsed.authorship_complete() or "", normalise_rank(parsed.rank)
    if f"{genus or name} ({infrageneric})" in verbatim and is_surname(infrageneric):  # an author in brackets
        authorship, rank, infrageneric = f"({infrageneric}) {authorship}".strip(), "", ""
    if authorship.islower() and "." not in authorship and not verbatim.islower():
        authorship = ""  # words of a vernacular name or a note
    return ParsedName(
        verbatim,
        NameType.INFORMAL if parsed.type == "INFORMAL" else NameType.SCIENTIFIC,
        canonical_name=name or infrageneric,
        canonical_full=infrageneric or (f"{name} {infraspecific}" if infraspecific else name),
        authorship=authorship,
        year=parsed.combination_authorship.year or parsed.basionym_authorship.year or "",
        rank=rank,
        hybrid=bool(parsed.notho),
        infraspecific=infraspecific,
        note=parsed.taxonomic_note or "",
    )


def _certain(name: ParsedName, parsed: nameparser.ParsedName, text: str) -> ParsedName:
    """The certain part of `name`."""
    genus, _, epithet = name.canonical_name.partition(" ")
    is_everyday = "blacklisted epithet used" in parsed.warnings
    is_word = is_no_name(name.canonical_full) and not parsed.phrase
    if not genus.lstrip("'")[:1].isupper() or (is_everyday and not name.authorship) or is_word:
        return ParsedName(name.verbatim, NameType.UNPARSABLE)
    if is_everyday:
        return replace(name, type=NameType.INFORMAL, canonical_name=genus, infraspecific="", qualifier=epithet)
    qualifiers = {"SPECIFIC": "agg."} if name.rank == "species_aggregate" else parsed.epithet_qualifier or {}
    if "SPECIFIC" in qualifiers:
        return replace(name, type=NameType.INFORMAL, canonical_name=genus, infraspecific="", qualifier=qualifiers["SPECIFIC"])
    if "INFRASPECIFIC" in qualifiers:
        return replace(name, type=NameType.INFORMAL, infraspecific="", qualifier=qualifiers["INFRASPECIFIC"])
    is_stage = epithet in word_lists()["stages"] and bool(rank_by_suffix(genus))
    if is_stage or _is_no_epithet(epithet) or (epithet and name.infraspecific in _HYBRID):
        is_hybrid = name.hybrid or epithet in _HYBRID or name.infraspecific in _HYBRID
        open_part = f"{epithet} {name.infraspecific}".strip()
        return ParsedName(name.verbatim, NameType.INFORMAL, genus, genus, qualifier=open_part, hybrid=is_hybrid)
    if len(name.infraspecific) == 1 and name.infraspecific.isupper():
        return replace(name, type=NameType.INFORMAL, infraspecific="", qualifier=name.infraspecific)
    if _is_no_epithet(name.infraspecific) or name.infraspecific in word_lists()["stages"]:
        name = replace(name, canonical_full=name.canonical_name, infraspecific="", rank="species", qualifier=name.infraspecific)
    if name.type is NameType.INFORMAL and not parsed.phrase:
        return replace(name, qualifier=name.qualifier or _rest(text, name.canonical_name))
    cultivar = f"'{parsed.cultivar_epithet}'" if parsed.cultivar_epithet else ""
    return replace(name, qualifier=qualifier) if (qualifier := parsed.phrase or cultivar or parsed.taxonomic_note) else name


_HYBRID = frozenset({"hybrid", "hybr", "hybrids"})


def _is_no_epithet(word: str) -> bool:
    return len(word) == 1 or word in word_lists()["not_epithets"] or _NUMBERED.fullmatch(word) is not None


_NUMBERED = re.compile(r"(?:spp?|ssp|morphosp|otu|n|s)\.?\d+\w*")


def _rest(text: str, name: str) -> str:
    return text.removeprefix(name).strip() or "indet."
