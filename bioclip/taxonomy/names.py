"""Verbatim strings to parsed names: ordered rules about what is no plain name, then GBIF's parser for all the rest.

The rules are data. `CLEANING` rewrites, one after another; the first of `VERDICTS` that fits decides what the string is, and
which part of it, if any, is a certain name. Open nomenclature (Bengtson 1988; Sigovini et al. 2016) keeps its certain part:
`Abies cf. alba` says Abies, with the qualifier `cf.`.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache, partial
from importlib import resources

import nameparser
import yaml

from bioclip.taxonomy.ranks import is_infraspecific, normalise_rank, rank_by_suffix


class NameType(StrEnum):
    """What a string is."""

    SCIENTIFIC = "SCIENTIFIC"
    INFORMAL = "INFORMAL"
    """A certain name with an open designation: `Felis sp. 3`, `Abies cf. alba`."""
    PLACEHOLDER = "PLACEHOLDER"
    IDENTIFIER = "IDENTIFIER"
    """A sequence cluster such as a BOLD BIN or a UNITE species hypothesis."""
    VIRUS = "VIRUS"
    FORMULA = "FORMULA"
    """A hybrid given by its parents."""
    NON_TAXON = "NON_TAXON"
    UNPARSABLE = "UNPARSABLE"
    EMPTY = "EMPTY"


@dataclass(frozen=True, slots=True)
class ParsedName:
    """A string and what it says. Names are ASCII, without authorship, rank markers and hybrid signs."""

    verbatim: str
    type: NameType
    canonical_name: str = ""
    """The certain part as a binomial or uninomial; empty when there is none."""
    canonical_full: str = ""
    """All name parts, with the infraspecific epithet and epithets that are not certain."""
    authorship: str = ""
    year: str = ""
    rank: str = ""
    """In lower case; empty when the string does not tell."""
    hybrid: bool = False
    infraspecific: str = ""
    """Epithet below the species."""
    qualifier: str = ""
    """What makes the name open, e.g. `cf.`, `sp. 3`, `gen. sp.`"""

    @property
    def genus(self) -> str:
        """First word of a binomial, else empty."""
        first, _, rest = self.canonical_name.partition(" ")
        return first if rest else ""


@dataclass(frozen=True)
class Verdict:
    """Strings that `pattern` fits whole are of `type`; group `taxon` is their certain name, group `qualifier` the open part."""

    type: NameType
    pattern: re.Pattern[str]


_PARTICLES = r"and|aus|da|das|de|del|den|der|des|di|do|dos|du|emend|et|ex|filius|fil|in|la|le|los|non|nec|sensu|van|ver|vom|von|zu|zur"
_NAME = r"[A-Z][a-z]+(?:-[a-z]+)*"
_EPITHET = r"[a-z]{2,}(?:-[a-z]+)*"
_MARKER = r"(?:spp?|ssp|subsp|gen|fam|cf|aff|nr|indet|var)\.?"


def _sub(pattern: str, replacement: str) -> Callable[[str], str]:
    return partial(re.compile(pattern).sub, replacement)


CLEANING: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("html_entity", html.unescape),
    ("html_tag", _sub(r"</?[A-Za-z][^<>]{0,80}>", "")),
    ("canonical_composition", partial(unicodedata.normalize, "NFC")),
    ("control_character", _sub(r"[\x00-\x1f\x7f\u200b-\u200f\u2028-\u202f\u2060\ufeff\u00ad]", " ")),
    ("underscore", _sub(r"_+", " ")),
    ("quoted", _sub(r'^\s*"(.*)"\s*$', r"\1")),
    ("vernacular_in_brackets", _sub(rf"\s*\((?=[^()]*\b(?!(?:{_PARTICLES})\b)[a-z]{{3,}})[A-Za-z' -]+\)\s*$", "")),
    ("whitespace", _sub(r"\s+", " ")),
    ("outer_space", str.strip),
)
"""Rewritings in order."""


@cache
def _word_lists() -> dict[str, frozenset[str]]:
    text = resources.files("bioclip.taxonomy").joinpath("not_names.yaml").read_text(encoding="utf-8")
    return {name: frozenset(words) for name, words in yaml.safe_load(text).items()}


def not_name_words() -> frozenset[str]:
    """All words and phrases of `not_names.yaml`, in lower case: non-taxa, placeholders, ways to write nothing."""
    return frozenset().union(*_word_lists().values())


def _any_of(words: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words))


def _verdict(kind: NameType, pattern: str, flags: int = re.IGNORECASE) -> Verdict:
    return Verdict(kind, re.compile(pattern, flags))


@cache
def verdicts() -> tuple[Verdict, ...]:
    """The rules in order; the first that fits the whole cleaned string decides."""
    words = _word_lists()
    placeholder = _any_of(words["placeholders"])
    barcode = r"BOLD[:\-][A-Z]{3}\d{3,5}"
    return (
        _verdict(NameType.EMPTY, rf"\W*|{_any_of(words['empty'])}"),
        _verdict(NameType.NON_TAXON, rf"(?:{_any_of(words['non_taxa'])})"),
        _verdict(NameType.INFORMAL, rf"(?P<qualifier>(?i:{placeholder})\.?) (?P<taxon>{_NAME})", 0),
        _verdict(NameType.PLACEHOLDER, rf"(?:{placeholder})\b.*"),
        _verdict(NameType.PLACEHOLDER, rf"{_MARKER}(?: .*)?|.*\b(?:uncultured|environmental)\b.*"),
        _verdict(NameType.INFORMAL, rf"(?P<qualifier>{barcode}) (?P<taxon>{_NAME})|(?P<taxon2>{_NAME}) (?P<qualifier2>{barcode})", 0),
        _verdict(NameType.IDENTIFIER, rf"{barcode}.*|(?:SH\d+\.\d+FU|(?:OTU|ASV|ZOTU|MAG)[ \-]?\d+)\b.*"),
        _verdict(
            NameType.INFORMAL, rf"(?P<taxon>{_NAME}),? (?P<qualifier>(?i:(?:fam\.? )?gen\.?,? (?:et )?{_MARKER}.*|{placeholder})\.?)", 0
        ),
        _verdict(NameType.INFORMAL, rf"(?P<taxon>{_NAME}) (?P<qualifier>{_EPITHET} ?/ ?(?:{_NAME} |[A-Z]\. ?)?{_EPITHET}.*)", 0),
        _verdict(NameType.INFORMAL, r"(?P<taxon>[a-z]+) (?P<qualifier>(?:family|order|class|genus|species))"),
        _verdict(NameType.FORMULA, rf"(?P<taxon>{_NAME}) (?P<qualifier>{_EPITHET}.* [×xX] (?:(?P=taxon) |[A-Z]\. ?)?{_EPITHET}.*)", 0),
        _verdict(NameType.UNPARSABLE, _EPITHET, 0),
    )


_VERDICT_OF_PARSER = {"PLACEHOLDER": NameType.PLACEHOLDER, "IDENTIFIER": NameType.IDENTIFIER, "FORMULA": NameType.FORMULA}


def clean_name(verbatim: str) -> str:
    """`verbatim` after all of `CLEANING`."""
    text = verbatim
    for _, rewrite in CLEANING:
        text = rewrite(text)
    return text


def parse_name(verbatim: str, authorship: str = "", rank: str = "") -> ParsedName:
    """What `verbatim` says; `authorship` and `rank` are what a source gives beside it. Never raises."""
    rank = normalise_rank(rank)
    text = _capitalised(clean_name(verbatim), rank)
    for verdict in verdicts():
        if match := verdict.pattern.fullmatch(text):
            groups = {name.rstrip("2"): value for name, value in match.groupdict().items() if value}
            hybrid = verdict.type is NameType.FORMULA
            taxon = groups.get("taxon", "")
            taxon = taxon.capitalize() if taxon.islower() else taxon
            return ParsedName(verbatim, verdict.type, taxon, taxon, qualifier=groups.get("qualifier", ""), hybrid=hybrid)
    try:
        parsed = nameparser.parse(text, authorship.strip() or None, rank.upper() or None)
    except nameparser.UnparsableNameError as error:
        kind = NameType.VIRUS if error.code == "VIRUS" else _VERDICT_OF_PARSER.get(error.name_type, NameType.UNPARSABLE)
        return ParsedName(verbatim, kind, hybrid=kind is NameType.FORMULA)
    if isinstance(parsed, nameparser.Informal):
        return ParsedName(verbatim, NameType.INFORMAL, fold(parsed.taxon), fold(parsed.taxon), qualifier=parsed.phrase or "indet.")
    return _certain(_structured(verbatim, parsed), parsed)


def parse_names(verbatims: Iterable[str]) -> list[ParsedName]:
    """`parse_name` of each distinct string, in the order given."""
    known = {verbatim: parse_name(verbatim) for verbatim in dict.fromkeys(verbatims)}
    return [known[verbatim] for verbatim in verbatims]


def fold(text: str) -> str:
    """ASCII letters: diacritics and ligatures resolved as the codes ask (ICN art. 60.4, ICZN art. 32.5.2)."""
    if text.isascii():
        return text
    text = text.translate(_LIGATURES)
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


_LIGATURES = str.maketrans(
    {"æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "ð": "d", "þ": "th"}
)


def _capitalised(text: str, rank: str) -> str:
    """Names set in one case get their capital back; a lone lower-case word only where ending or rank show that it is no epithet."""
    if text.isupper() and " " in text:
        genus, epithet, *rest = text.split(" ")
        is_author = any(char in ",.()&" or char.isdigit() for word in rest for char in word)
        return " ".join([genus.capitalize(), epithet.lower(), *(word.title() if is_author else word.lower() for word in rest)])
    is_lone = text.isalpha() and (text.islower() or text.isupper())
    if is_lone and (rank_by_suffix(text) or (rank and rank != "species" and not is_infraspecific(rank))):
        return text.capitalize()
    return text


def _structured(verbatim: str, parsed: nameparser.ParsedName) -> ParsedName:
    genus, epithet = fold(parsed.genus or ""), fold(parsed.specific_epithet or "")
    name = " ".join(part for part in (genus, epithet) if part) or fold(parsed.uninomial or "")
    infraspecific = fold(parsed.infraspecific_epithet or "")
    return ParsedName(
        verbatim,
        NameType.INFORMAL if parsed.type == "INFORMAL" else NameType.SCIENTIFIC,
        canonical_name=name,
        canonical_full=f"{name} {infraspecific}" if infraspecific else name,
        authorship=parsed.authorship_complete() or "",
        year=parsed.combination_authorship.year or parsed.basionym_authorship.year or "",
        rank=normalise_rank(parsed.rank),
        hybrid=bool(parsed.notho),
        infraspecific=infraspecific,
    )


def _certain(name: ParsedName, parsed: nameparser.ParsedName) -> ParsedName:
    """`name` cut back to what is certain."""
    if not name.canonical_name or "blacklisted epithet used" in parsed.warnings:
        return ParsedName(name.verbatim, NameType.UNPARSABLE)
    qualifiers = parsed.epithet_qualifier or {}
    if name.rank == "species_aggregate":
        qualifiers = {"SPECIFIC": "agg."}
    genus = name.canonical_name.partition(" ")[0]
    if "SPECIFIC" in qualifiers:
        return replace(name, type=NameType.INFORMAL, canonical_name=genus, infraspecific="", qualifier=qualifiers["SPECIFIC"])
    if "INFRASPECIFIC" in qualifiers:
        return replace(name, type=NameType.INFORMAL, infraspecific="", qualifier=qualifiers["INFRASPECIFIC"])
    if parsed.phrase:
        return replace(name, qualifier=parsed.phrase)
    return name
