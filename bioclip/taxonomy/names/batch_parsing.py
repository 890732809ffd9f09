"""Names that need no parser: up to three words, with an author of surnames, initials and a year only; detected in whole columns.

`parse_name` gives the same result for every plain name; names that it could parse differently are left to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bioclip.taxonomy.names.name_types import VERNACULAR_WORDS
from bioclip.taxonomy.names.parsing import NameType, not_name_words, parse_name
from bioclip.taxonomy.names.ranks import LEVELS, UNSPECIFIC_RANK, asked_rank, is_suprageneric

Mask = npt.NDArray[np.bool_]

_GENUS = r"[A-Z][a-z]+"
_EPITHET = r"[a-z]{2,}(?:-[a-z]+)*"
_NAME = rf"{_GENUS}(?: {_EPITHET}){{0,2}}"
_PARTICLES = ("da", "das", "de", "del", "den", "der", "des", "di", "do", "dos", "du", "la", "le", "van", "ver", "vom", "von", "zu", "zur")
_YEAR = r"(?:17[5-9]|18\d|19\d|20[0-2])\d"
_WORD_OF_AUTHOR = rf"(?:\p{{Lu}}[\p{{L}}.'’-]*[.,]*|&|et|ex|in|and|f\.|fil\.|{'|'.join(_PARTICLES)}|{_YEAR})\)?,?"
_AUTHOR_LIKE = rf"\(?(?:(?:{'|'.join(_PARTICLES)}) )*\p{{Lu}}[\p{{L}}.'’-]*[.,]*\)?,?(?: {_WORD_OF_AUTHOR})*"
_FURTHER_WORDS = frozenset(
    """
    aff agg and archaeon aus bis candidatus cell cf clade class clone complex convar cultivar dal dalla dallo degli dei della delle
    delli dello ectosymbiont emend endosymbiont environmental et ex fam family fil filius fo forma gen genome genomosp genus group
    hort hybrid in indet ined isolate like lusus mihi mut nec non nothosect nothoser nothosubg nothosubsp nothovar nov nr order
    particle phylum phytoplasma plasmid prol proles retroviruses sect section sensu ser sp species spp ssp strain subf subfam subg
    subgen subsect subser subsp subtr subtrib subvar superfam supersect superser supertrib symbiont trib tribe uncultured var vector
    """.split()  # noqa: SIM905
)
"""Words that a parser does not read as part of a name."""
_OTHER = (
    r"(?i)vir(?:us|uses|idae|ales|icetes|icota|inae|ites|iriae)\b|phage|viroid|satellite| [a-z]*bacterium\b|vector|-like|-group|-particle"
)
"""Parts of words with the same effect."""
_NO_VOWEL = r"(?i)\b[b-df-hj-np-tv-xz]{4,}\b"
_OTHER_WORD, _UNINOMIAL = re.compile(_OTHER), re.compile(_GENUS)
_TRINOMIAL = "infraspecific_name"
_NOTES = {"auct", "comb", "ined", "nec", "nom", "non", "not", "part", "pro", "sensu", "syn"} - set(_PARTICLES)
_ANY_NAME = "Abies alba"
_SURNAME = r"[A-Z][a-zà-öø-ÿ]{2,}(?:-[A-Z][a-zà-öø-ÿ]{2,})?"
_INITIALS = r"(?:[A-Z]\. ?)*"
_SHORTENED = rf"{_INITIALS}{_SURNAME}\.?(?:(?:, | & ){_INITIALS}{_SURNAME}\.?)*"
_WITHOUT_YEAR = re.compile(rf"(?:\({_SHORTENED}\) )?{_SHORTENED}(?: ex {_SHORTENED})?")
_WITH_YEAR = re.compile(
    rf"(?P<open>\()?{_INITIALS}{_SURNAME}(?:(?:, | & ){_INITIALS}{_SURNAME})*, (?:175[89]|17[6-9]\d|1[89]\d\d|20[01]\d)(?(open)\))"
)
"""Zoological citations; zoological names begin in 1758, and the parser takes no year to come."""
_NUM_CACHED = 200_000


@dataclass(frozen=True)
class PlainNames:
    """The plain names among n lineages, as parallel columns of m."""

    rows: npt.NDArray[np.intp]
    """Their rows among the n, ascending."""
    names: pa.Array
    """Canonical: one to three words of ASCII."""
    authorships: pa.Array
    ranks: pa.Array
    """The requested rank; empty for any."""


def plain_names(lineages: pa.Table) -> PlainNames:
    """The plain names of a table of verbatim lineages (strings without nulls)."""
    text = texts_of(lineages)
    names, within = _split(text)
    is_plain = _mask(pc.not_equal(names, "")) & ~_mask(pc.match_substring_regex(text, _OTHER))
    separate = _column(lineages, "scientific_name_authorship")
    has_within = _mask(pc.not_equal(within, ""))
    spaces = pc.count_substring(names, " ").to_numpy()
    is_plain &= ~(has_within & (spaces == 0) & ~_mask(pc.match_substring_regex(within, r"^[^(][^(]*\d$|^\S*\.$")))
    is_plain &= ~_mask(pc.match_substring_regex(within, _no_author()))
    rows = np.flatnonzero(is_plain & ~(has_within & _mask(pc.not_equal(separate, ""))))
    rows = rows[~_has_other_words(names.take(pa.array(rows)))]
    taken, spaces = pa.array(rows), spaces[rows]
    written = pc.if_else(pa.array(has_within), within, separate).take(taken)
    authorships = _read_authorships(written)
    asked = _asked_ranks(_column(lineages, "taxon_rank").take(taken), spaces)
    asked = _ranks_by_author(asked, written, spaces)
    is_read = pc.and_(pc.is_valid(asked), pc.is_valid(authorships))
    kept = is_read.to_numpy(zero_copy_only=False)
    return PlainNames(rows[kept], names.take(taken).filter(is_read), authorships.filter(is_read), asked.filter(is_read))


def authorships_within(names: pa.Array) -> pa.Array:
    """The authorship after the name in each string, with its note (`auct. non L.`); empty without one, or if the string is not a name."""
    empty = pa.repeat(pa.scalar(""), len(names))
    columns = ("scientific_name_authorship", "taxon_rank", "genus", "specific_epithet")
    plain = plain_names(pa.table({"scientific_name": names, **dict.fromkeys(columns, empty)}))
    is_plain = np.zeros(len(names), bool)
    is_plain[plain.rows] = True
    parsed = [parse_name(name) for name in names.filter(pa.array(~is_plain)).to_pylist()]
    others = [one.citation if one.type is NameType.SCIENTIFIC else "" for one in parsed]
    found = pc.replace_with_mask(empty, pa.array(is_plain), plain.authorships)
    return pc.replace_with_mask(found, pa.array(~is_plain), pa.array(others, pa.string()))


def _split(text: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Name and author of each string, both empty for any other string."""
    is_bare = pc.match_substring_regex(text, rf"^{_NAME}$")
    others = text.filter(pc.invert(is_bare))
    parts = pc.extract_regex(others, rf"^(?P<name>{_NAME}) (?P<author>{_AUTHOR_LIKE})$")
    name, author = (pc.fill_null(pc.struct_field(parts, part), "") for part in ("name", "author"))
    is_other = pc.invert(is_bare)
    return pc.replace_with_mask(text, is_other, name), pc.replace_with_mask(pc.if_else(is_bare, "", text), is_other, author)


def _read_authorships(authorships: pa.Array) -> pa.Array:
    """Authors of surnames, initials and years unchanged; others as written by the parser, each distinct one once; null if it finds
    something else in them."""
    encoded = authorships.dictionary_encode()
    is_simple = _mask(pc.match_substring_regex(encoded.dictionary, rf"^(?:{_AUTHOR_LIKE})?$"))
    is_simple &= ~_mask(pc.match_substring_regex(encoded.dictionary, _no_author()))
    texts = [text if simple else _read_authorship(text) for text, simple in zip(encoded.dictionary.to_pylist(), is_simple, strict=True)]
    return pa.array(texts, pa.string()).take(encoded.indices)


def _ranks_by_author(asked: pa.Array, authorships: pa.Array, spaces: npt.NDArray[np.int32]) -> pa.Array:
    """For three words the author indicates the code, and the code the rank."""
    is_open = pc.and_(pc.equal(asked, _TRINOMIAL), pc.and_(pc.greater(pa.array(spaces), 1), pc.not_equal(authorships, "")))
    is_open = pc.fill_null(is_open, False)
    texts = [rank_by_author(text) for text in authorships.filter(is_open).to_pylist()]
    return pc.replace_with_mask(asked, is_open, pa.array(texts, pa.string()))


@lru_cache(_NUM_CACHED)
def rank_by_author(authorship: str) -> str:
    """The rank of a name of three words with this author: subspecies if the citation is zoological, else any below the species.

    Usual citations are decided by their form, others by the parser.
    """
    if _WITHOUT_YEAR.fullmatch(authorship) and not _others().search(authorship):
        return _TRINOMIAL
    if _WITH_YEAR.fullmatch(authorship) and not _others().search(authorship):
        return "subspecies"
    return parse_name(f"{_ANY_NAME} nigra", authorship).rank


@lru_cache(_NUM_CACHED)
def _read_authorship(text: str) -> str | None:
    parsed = parse_name(_ANY_NAME, text)
    is_author = parsed.type is NameType.SCIENTIFIC and parsed.canonical_full == _ANY_NAME and not parsed.qualifier and not parsed.hybrid
    return parsed.authorship if is_author else None


def is_plain_uninomial(text: str) -> bool:
    """True for one word that a parser reads as a name of any rank."""
    return bool(_UNINOMIAL.fullmatch(text)) and text.lower() not in _all_words() and not _OTHER_WORD.search(text)


def texts_of(lineages: pa.Table) -> pa.Array:
    """The scientific name; where that is empty, the binomial of the columns `specific_epithet` and `genus`."""
    name, epithet, genus = (_column(lineages, column) for column in ("scientific_name", "specific_epithet", "genus"))
    is_single = pc.match_substring_regex(epithet, rf"^{_EPITHET}$")
    joined = pc.if_else(pc.match_substring_regex(genus, rf"^{_GENUS}$"), pc.binary_join_element_wise(genus, epithet, " "), "")
    is_whole = pc.match_substring(epithet, " ")
    of_columns = pc.if_else(is_single, joined, pc.if_else(is_whole, epithet, ""))
    return pc.if_else(pc.equal(name, ""), of_columns, name)


@cache
def _all_words() -> frozenset[str]:
    return frozenset({*not_name_words(), *_PARTICLES, *_FURTHER_WORDS, *LEVELS})


@cache
def _no_author() -> str:
    """Pattern of words that are not authors, or that the parser may read differently: `GV` is a virus, `CF` a qualifier, `Smith AB`
    initials."""
    words = {word for word in not_name_words() if word.isalpha() and len(word) > 2} | _NOTES
    capitals = r"(?:[A-CE-Z][A-Z]|D[ABD-Z]|DC[A-Z])[A-Z]*"
    initials = r"\b[A-Z]$|\bDC(?:[^.]|$)|(?:[A-Z][a-z]+|\d)[.,)]* DC\b"
    return rf"\b(?:(?i:{'|'.join(sorted(words))})|And|Apud|Em|Et|Ex|In|Ms|Sp|{capitals})\b|{initials}"


@cache
def _others() -> re.Pattern[str]:
    return re.compile(_no_author())


@cache
def _words() -> tuple[pa.Array, pa.Array]:
    """Single words and pairs of words, in lower case, that exclude a string from the plain names."""
    found = _all_words()
    single, pairs = sorted(word for word in found if " " not in word), sorted(word for word in found if word.count(" ") == 1)
    return pa.array(single, pa.string()), pa.array(pairs, pa.string())


def _has_other_words(names: pa.Array) -> Mask:
    words = pc.extract_regex(pc.ascii_lower(names), r"^(?P<a>\S+)(?: (?P<b>\S+))?(?: (?P<c>\S+))?$")
    first, second, third = (pc.fill_null(pc.struct_field(words, part), "") for part in "abc")
    single, pairs = _words()
    found = [pc.is_in(word, value_set=single) for word in (first, second, third)]
    found += [pc.is_in(pc.binary_join_element_wise(*pair, " "), value_set=pairs) for pair in ((first, second), (second, third))]
    found += [pc.is_in(first, value_set=pa.array(sorted(VERNACULAR_WORDS), pa.string())), pc.match_substring_regex(names, _NO_VOWEL)]
    is_other: Mask = np.logical_or.reduce([_mask(one) for one in found])
    return is_other


def _asked_ranks(stated: pa.Array, spaces: npt.NDArray[np.int32]) -> pa.Array:
    """The requested rank for names of one, two and three words; null if the name cannot have the stated rank."""
    encoded = stated.dictionary_encode()
    normal = [asked_rank(text) for text in encoded.dictionary.to_pylist()]
    one = [rank if rank in {"", UNSPECIFIC_RANK, "genus", "subgenus"} or is_suprageneric(rank) else None for rank in normal]
    two = ["species" if rank in {"", "species"} else None for rank in normal]
    three = [rank or _TRINOMIAL if rank in {"", _TRINOMIAL, "subspecies", "variety", "form"} else None for rank in normal]
    found = [pa.array(ranks, pa.string()).take(encoded.indices) for ranks in (one, two, three)]
    return pc.choose(pa.array(spaces), *found)


def _column(lineages: pa.Table, name: str) -> pa.Array:
    return lineages[name].combine_chunks()


def _mask(found: pa.Array) -> Mask:
    mask: Mask = pc.fill_null(found, False).to_numpy(zero_copy_only=False)
    return mask
