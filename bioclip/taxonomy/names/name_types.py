"""Types of cleaned strings that are not plain names, with their certain part: an ordered table of rules.

The first rule that matches the whole string decides. Group `taxon` of its pattern is the certain name, `open` the uncertain part after it
(kept in the full canonical name), `qualifier` the words that make the name open.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources

import yaml


class NameType(StrEnum):
    """The type of a string."""

    SCIENTIFIC = "SCIENTIFIC"
    INFORMAL = "INFORMAL"
    """A certain name with an open designation: `Felis sp. 3`, `Abies cf. alba`."""
    PLACEHOLDER = "PLACEHOLDER"
    IDENTIFIER = "IDENTIFIER"
    """A sequence cluster such as a BOLD BIN or a UNITE species hypothesis, an accession, an address."""
    VIRUS = "VIRUS"
    FORMULA = "FORMULA"
    """A hybrid given by its parents."""
    NON_TAXON = "NON_TAXON"
    UNPARSABLE = "UNPARSABLE"
    EMPTY = "EMPTY"


@dataclass(frozen=True)
class TypeRule:
    """Strings that `pattern` matches completely have `type`."""

    type: NameType
    pattern: re.Pattern[str]


NAME = r"[A-Z][a-zà-ÿ]+(?:-[a-z]+)*"
_SAME = r"(?:(?P=taxon) |(?P=initial)\. ?)?"
_GENUS = r"(?P<taxon>(?P<initial>[A-Z])[a-zà-ÿ]+(?:-[a-z]+)*)"
EPITHET = r"[a-zà-ÿ]{2,}(?:-[a-z]+)*"
_MARKER = r"(?:spp?|ssp|subsp|gen|fam|cf|aff|nr|indet|var)\.?"
_EITHER = r"(?: ?(?:[/|;]|--) ?| (?:or|vel|oder|ou|and|und|et|&) )"
_CLUSTER = (
    r"(?:(?:BIN[: ])?BOLD[:\- ][A-Z]{3}\d{3,5}|(?:UNITE[: ])?SH\d{5,8}\.\d\dFU|(?:OTU|ASV|ZOTU|MOTU|MAG|UBA|cluster|denovo)[ _\-]?\d+)"
)
_CODE = (
    r"(?:urn|https?|doi|lsid):\S+|www\.\S+|10\.\d{4,}/\S+|G[BS][ _]GC[AF][ _]\d+\S*|GC[AF][ _]\d+\S*|\d+"
    r"|(?=\S*\d)(?=\S*[A-Za-z])[\w.:\-|#]+"
    r"|(?:taxon|species|genus|family|clade|contig|sample|specimen|unit|morpho(?:species|type)|morphosp\.?|sp\.?)[ _\-]?\d+[a-z]?"
)
_NUMBERED = r"(?:[Ss]pp?|[Ss]pec|[Gg]en)[.\-]?[A-Z0-9]\w{0,2}\b"
_OPEN_WORD = (
    r"(?:(?i:subfam|fam|gen|genus|spp?|spec|species|indet|undet|det|nov|n|g|et|&|larvae?|adults?|nymphs?|juv|juveniles?)(?:\.|(?![a-z]))"
    rf"|{_NUMBERED}|\d{{1,3}}[a-z]?\b|[A-Z]\b)"
)
_OPEN_WORDS = rf"(?:(?:,? |(?<=\.)){_OPEN_WORD})*"
_FIRST_OPEN_WORD = (
    r"(?:(?i:subfam|fam|gen|genus|spp?|spec|species|indet|undet)(?:\.|(?![a-z]))|g\.(?= ?sp)|(?:n|nov)\.?(?= ?(?:gen|sp)\b)"
    rf"|{_NUMBERED})"
)
STRAIN = re.compile(
    r" \(?(?:strain|isolate|clone|serovar|serotype|serogroup|sv\.|bv\.|biovar|biotype|ecotype|(?=[A-Z]+\d+ biovar))(?:(?<=\.) ?| )"
    r"(?P<strain>[^()]+)\)?$"
)
"""Suffix of a name that states a strain or serovar."""


VERNACULAR_WORDS = frozenset(
    """
    african american antarctic arctic asian atlantic australian banded bearded big black blue bright brown canadian chinese collared common
    crested dark desert domestic dwarf eastern eurasian european field forest garden giant golden gray great greater green grey hooded
    horned indian japanese large least lesser little long marsh mexican mountain northern old orange pacific pale pink prairie purple
    red ringed sand short silver small southern spotted striped swamp tall texas the tiny tree unidentified water western white wild
    yellow young
    """.split()  # noqa: SIM905
)
"""First words of vernacular names in English, in lower case; no genus with species is so called."""
_NO_VOWEL = re.compile(r"(?i)\b[b-df-hj-np-tv-xz]{4,}\b")


def is_no_name(name: str) -> bool:
    """True for canonical names of several words that are English or have a word that nobody can pronounce."""
    first, _, rest = name.partition(" ")
    return bool(rest) and (first.lower() in VERNACULAR_WORDS or _NO_VOWEL.search(name) is not None)


PLACEHOLDER_NAME = re.compile(
    r"(?:[dpcofgs]__)?(?P<name>(?P<genus>[A-Z][A-Za-z0-9-]*_[A-Z]{1,3})(?: [a-z0-9]+(?:_[A-Z]{1,3})?)?"
    r"|(?P<certain>[A-Z][a-z]+) (?:[a-z]+_[A-Z]{1,3}|sp0\d{8})|[A-Z][A-Z0-9-]*[0-9][A-Za-z0-9-]* sp0\d{8})"
    r"|[dpcofgs]__(?P<code>[A-Z][A-Za-z0-9-]*\d[A-Za-z0-9-]*)"
)
"""Names of the Genome Taxonomy Database for taxa without a valid one (Parks et al. 2018): `Bacillus_A`, `Prevotella sp000434975`."""


@cache
def word_lists() -> dict[str, frozenset[str]]:
    """The words of `not_names.yaml`, by list."""
    text = resources.files("bioclip.taxonomy").joinpath("not_names.yaml").read_text(encoding="utf-8")
    return {name: frozenset(words) for name, words in yaml.safe_load(text).items()}


def _any_of(words: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words))


def _type_rule(kind: NameType, pattern: str, flags: int = re.IGNORECASE) -> TypeRule:
    return TypeRule(kind, re.compile(pattern, flags))


@cache
def type_rules() -> tuple[TypeRule, ...]:
    """The rules in order; the first that matches the whole cleaned string decides."""
    words = word_lists()
    placeholder = _any_of(words["placeholders"])
    return (
        _type_rule(NameType.EMPTY, rf"\W*|0|{_any_of(words['empty'])}"),
        _type_rule(NameType.NON_TAXON, rf"(?:{_any_of(words['non_taxa'])})"),
        _type_rule(NameType.VIRUS, rf"(?:{_any_of(words['viruses'])})(?:[ \-]\d+)?(?: .*)?"),
        _type_rule(NameType.PLACEHOLDER, rf"(?:{_any_of(words['whole_placeholders'])})"),
        _type_rule(
            NameType.INFORMAL,
            rf"(?:Candidatus|Ca\.) (?P<taxon>{NAME}(?: (?!clade|cluster|group|lineage){EPITHET})?) "
            r"(?P<qualifier>(?:clade|cluster|group|lineage|subclade)\b.*)",
            0,
        ),
        _type_rule(NameType.INFORMAL, rf"(?P<qualifier>(?i:{placeholder})\.?) (?P<taxon>{NAME}){_OPEN_WORDS}", 0),
        _type_rule(
            NameType.INFORMAL,
            rf"(?P<qualifier>[Uu]ncultured) (?P<taxon>{NAME})(?: (?:{_MARKER}|bacterium|fungus|eukaryote|clone)(?: .*)?)?",
            0,
        ),
        _type_rule(NameType.INFORMAL, rf"(?P<qualifier>(?i:cf|aff|nr|near)\.?|\?) ?(?P<open>{NAME}(?: {EPITHET})?)(?: .*)?", 0),
        _type_rule(NameType.PLACEHOLDER, rf"(?:{placeholder})(?:\b|(?<=\.)).*|not .*"),
        _type_rule(NameType.PLACEHOLDER, rf"{_MARKER}(?: .*)?|(?:g|n)\. sp\..*|.*\b(?:uncultured|environmental)\b.*"),
        _type_rule(NameType.INFORMAL, rf"(?P<qualifier>{_CLUSTER})[ |,;:]+(?P<taxon>{NAME}(?: {EPITHET})?)", 0),
        _type_rule(NameType.INFORMAL, rf"(?P<taxon>{NAME}(?: (?!spp?\b){EPITHET})?)[ |,;:]+\(?(?P<qualifier>{_CLUSTER})\)?", 0),
        _type_rule(NameType.IDENTIFIER, rf"{_CLUSTER}\b.*|{_CODE}"),
        _type_rule(
            NameType.INFORMAL,
            rf"(?P<taxon>{NAME})(?:[,:]| -)? \(?(?P<qualifier>(?:{_FIRST_OPEN_WORD}|(?i:{placeholder})\.?){_OPEN_WORDS})\)?",
            0,
        ),
        _type_rule(NameType.INFORMAL, rf"(?P<taxon>{NAME}) (?P<qualifier>(?i:null|nan|none|n/a)|NA)", 0),
        _type_rule(NameType.INFORMAL, rf"(?P<taxon>{NAME} {EPITHET}) (?P<qualifier>indet\.?)", 0),
        _type_rule(NameType.INFORMAL, rf"(?P<taxon>{NAME})(?: (?P<open>{EPITHET}))? (?P<qualifier>\(?\?\)?)", 0),
        _type_rule(NameType.INFORMAL, rf"{_GENUS} (?P<qualifier>{EPITHET}{_EITHER}{_SAME}{EPITHET}.*)", 0),
        _type_rule(NameType.INFORMAL, rf"(?P<qualifier>{NAME}(?: {EPITHET}\.?)?{_EITHER}{NAME}(?: .*)?)", 0),
        _type_rule(NameType.INFORMAL, r"(?P<taxon>[a-z]+) (?P<qualifier>(?:family|order|class|genus|species))"),
        _type_rule(NameType.FORMULA, rf"{_GENUS} (?P<qualifier>{EPITHET}.* [×xX] (?:{_SAME}{EPITHET}.*|\?))", 0),
        _type_rule(NameType.FORMULA, rf"(?P<taxon>{NAME}) (?P<qualifier>\({EPITHET} [×xX] {EPITHET}\))", 0),
        _type_rule(NameType.FORMULA, rf"(?P<taxon>{NAME}) (?P<qualifier>[×xX])", 0),
        _type_rule(NameType.FORMULA, rf"(?P<qualifier>{NAME}(?: {EPITHET})? [×xX] {NAME}(?: .*)?)", 0),
        _type_rule(NameType.UNPARSABLE, rf"{EPITHET}(?:/{EPITHET})*", 0),
    )


_WORDS = re.compile(r"[a-z]+")
_WORDS_OF_RULES = (
    "x cf cfr aff nr near prope gr conf fam gen sp spp ssp subsp var indet or vel oder ou family subfam spec order class genus species "
    "strain isolate clone serovar serotype serogroup sv bv biovar biotype ecotype uncultured environmental subspecies candidatus"
)
_LETTERS = "A-Za-zÁÄÇÉÓÖØÜàáäçèéêëíïñóôöøúüýčřšž"
_AUTHOR = (
    rf"(?:[A-ZÁÄÇÉÓÖØÜ][{_LETTERS}]*(?:[.\-]+[{_LETTERS}]+)*\.?"
    r"|and|da|de|del|den|der|des|di|do|dos|du|et|ex|f\.|fil\.|in|la|le|van|von|zu|&|al\.)"
)
_YEAR = r"(?:1[5-9]|20)\d\d"
_TEAM = rf"(?!(?:&|and|et|ex|in) ){_AUTHOR}(?:,? {_AUTHOR})*(?:,? {_YEAR})?"
_PLAIN = re.compile(rf"[A-Z][a-z]{{2,}}(?: [a-z]{{3,}}(?:-[a-z]{{3,}})?){{0,2}}(?:,? \((?!\w+ [a-z]{{3}}){_TEAM}\))?(?:,? {_TEAM})?")


def not_name_words() -> frozenset[str]:
    """Words and phrases, in lower case, one of which occurs in every string of plain words that a rule or the parser does not read as a
    plain name."""
    return frozenset(_WORDS_OF_RULES.split()).union(*word_lists().values())


@cache
def _signals() -> frozenset[str]:
    """Words one of which is required by every rule that can match a plain string."""
    lists = (words for name, words in word_lists().items() if name != "read_otherwise")
    entries = frozenset(_WORDS_OF_RULES.split()).union(*lists)
    return frozenset(word for entry in entries for word in _WORDS.findall(entry))


def is_plain(text: str) -> bool:
    """True for what looks like a name with or without its author, so that no rule of cleaning and no verdict changes it."""
    return _PLAIN.fullmatch(text) is not None and _signals().isdisjoint(_WORDS.findall(text.lower()))
