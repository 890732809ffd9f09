"""Whether two authorships can be the same: surnames, initials and years, as botanists and zoologists write and abbreviate them.

An author is a surname with the words before it; abbreviations are prefixes (`Lindl.`) or contractions (`Rchb.`), which
`data/author_abbreviations.csv` spells out: usual forms of Brummitt & Powell's Authors of Plant Names (1992, continued by IPNI) and
of older zoological works. Authors joined by `ex`, `in` or `&` are all used, since sources differ in which they cite.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from rapidfuzz.distance import OSA

from bioclip.delimited.headed import read_packaged
from bioclip.taxonomy.names.cleaning import fold

_YEAR = re.compile(r"\b(?:1[5-9]|20)\d\d\b")
_NOT_OF_IT = re.compile(
    r"\b(?:non|nec|not|sensu|auct|auctt|emend|nom|comb|stat|pro|p\.\s?p)\b.*|(?<!^)\[[^\]]*\]|\banon(?:ymous)?\b\.?|\bhort\b\.?",
    re.IGNORECASE,
)
_USAGE_NOTE = re.compile(r"\b(?:non|nec|not|sensu|auct|auctt)\b.*", re.IGNORECASE)
_LETTERS = re.compile(r"[a-z0-9]+")
_BRACKETS = re.compile(r"\s*\(([^()]*)\)(.*)", re.DOTALL)
_TEAM = re.compile(r"[,;&:+/]|(?<=[\s.])(?:et|and|und|ex|in|apud|og|och|y|e)(?=[\s.])|\bet\.? ?alii\b|\bal\.?(?=$|[\s,;&)])")
_WORD = re.compile(r"([A-Za-z]+)(\.?)")
_ELISION = re.compile(r"\b[DdLl]['’`]\s?")
_PARTICLES = frozenset(
    {
        "da",
        "das",
        "de",
        "del",
        "den",
        "der",
        "des",
        "di",
        "do",
        "dos",
        "du",
        "la",
        "las",
        "le",
        "los",
        "ten",
        "van",
        "ver",
        "vom",
        "von",
        "zu",
        "zur",
    }
)
_SONS = frozenset({"f", "fil", "filius", "fils"})
_NAMESAKES = frozenset({"bis", "ter"})
_IGNORED = frozenset({"jr", "jun", "junior", "sr", "sen", "senior", "pere"})
_REWRITES = tuple(
    (re.compile(pattern), replacement) for pattern, replacement in ((r"(?<!q)([aou])e", r"\1"), (r"^mc", "mac"), (r"(.)\1+", r"\1"))
)
_IMPRINT_YEARS = 2
"""A year may be that of the volume or of its issue; years further apart leave it open: Linnaeus named plants in 1753, animals in 1758."""
_LEAST_SIMILAR, _LEAST_MISSPELT = 0.7, 5
_SAME_SURNAME, _SHORTENED, _MAYBE, _OTHER = 2, 1, 0, -1


@dataclass(frozen=True, slots=True)
class Author:
    """One person as written; words are in lower-case ASCII, one spelling for umlauts and doubled letters."""

    surnames: tuple[str, ...]
    """The surname, with and without its particles, or the name that an abbreviation means."""
    is_abbreviated: bool
    given: tuple[str, ...]
    """First names or their initials, and first parts of a double surname."""
    suffix: str = ""
    """`f` for a son, `bis` and `ter` for namesakes."""


@dataclass(frozen=True, slots=True)
class Authorship:
    """Authors of the name, those in brackets before them, and all years."""

    authors: tuple[Author, ...]
    original_authors: tuple[Author, ...]
    years: tuple[int, ...]


_PLAIN_AUTHOR = re.compile(r"\(?(?!(?:Anon|Auct|Hort|Nec|Non|Not|Sensu)\b)[A-Z][a-z]{2,}")


def compare_authorship(one: str, other: str) -> int:
    """1 when they agree, -1 when they differ, 0 when either is empty or the comparison is undecided."""
    return _compare(one, other) if one and other else 0


@lru_cache(maxsize=200_000)
def _compare(one: str, other: str) -> int:
    if one == other and _PLAIN_AUTHOR.match(one):
        return 1
    if one == other:
        parsed = parse_authorship(one)
        return 1 if parsed.authors or parsed.original_authors or parsed.years else 0
    a, b = parse_authorship(one), parse_authorship(other)
    gap = min((abs(year - other_year) for year in a.years for other_year in b.years), default=None)
    if not (a.authors or a.original_authors) or not (b.authors or b.original_authors):
        return 0 if gap is None else 1 if gap <= 1 else -1
    agreement = _compare_teams(a, b)
    if gap is None or agreement is _OTHER:
        return min(agreement, 1)
    if agreement is _MAYBE:
        return 1 if gap <= 1 else -1 if gap > _IMPRINT_YEARS else 0
    return 1 if gap <= _IMPRINT_YEARS else 0


@lru_cache(maxsize=200_000)
def count_equal_parts(one: str, other: str) -> int:
    """How many of two parts, the authors with those in brackets and the years, are the same in two citations that agree: 0, 1 or 2."""
    if one == other:
        return 2
    a, b = parse_authorship(one), parse_authorship(other)
    return int(_names_of(a) == _names_of(b)) + int(a.years == b.years)


def is_other_publication(one: str, other: str) -> bool:
    """Whether two citations name different authors, or years more than one apart: two epithets with such citations are two names.

    Letters lost to a wrong encoding (U+FFFD) say neither yes nor no.
    """
    if not one or not other or "\ufffd" in one or "\ufffd" in other:
        return False
    if compare_authorship(one, other) < 0:
        return True
    pairs = [(year, other_year) for year in parse_authorship(one).years for other_year in parse_authorship(other).years]
    return bool(pairs) and min(abs(year - other_year) for year, other_year in pairs) > 1


def usage_note(authorship: str) -> str:
    """What a citation says of another use of the name (`auct. non L.`, `sensu Blanco`), in lower-case letters and single spaces."""
    match = _USAGE_NOTE.search(authorship)
    return " ".join(_LETTERS.findall(fold(match.group()).lower())) if match else ""


def _names_of(authorship: Authorship) -> tuple[tuple[tuple[str, ...], str], ...]:
    return tuple((author.surnames, author.suffix) for author in (*authorship.original_authors, *authorship.authors))


@lru_cache(maxsize=200_000)
def parse_authorship(authorship: str) -> Authorship:
    """The authors and years of a citation; text on other uses of the name (`auct. non L.`) is omitted."""
    text = _NOT_OF_IT.sub("", fold(authorship.replace("’", "'")))
    years = tuple(sorted({int(year) for year in _YEAR.findall(text)}))
    text = _YEAR.sub("", text)
    bracketed, rest = match.groups() if (match := _BRACKETS.match(text)) else ("", text)
    authors, original_authors = tuple(_team(rest)), tuple(_team(bracketed))
    if not authors and match and not rest.strip(" .,"):
        authors, original_authors = original_authors, ()
    return Authorship(authors, original_authors, years)


@lru_cache(maxsize=65_536)
def normalise_surname(word: str) -> str:
    """Normal form of a surname: Müller, Mueller; Rollisson, Rollison."""
    word = fold(word).lower()
    for pattern, replacement in _REWRITES:
        word = pattern.sub(replacement, word)
    return word


_SURNAME_ENDING = re.compile(r"(?:ck|dt|ff|ght|ld|ll|nn|rd|rt|tz|berg|ham|ille|ley|quist|ski|sky|ville|wood)$")


def is_surname(word: str) -> bool:
    """True for the surname of a usual abbreviation, and for words with an ending that Latin names do not have."""
    surnames = {surname for meanings in _meanings().values() for surname in meanings}
    return normalise_surname(word) in surnames or _SURNAME_ENDING.search(word) is not None


def _compare_teams(a: Authorship, b: Authorship) -> int:
    """If both state the original authors in brackets, these decide, since the combining author is often omitted or wrong."""
    if not a.original_authors or not b.original_authors:
        return _best((*a.authors, *a.original_authors), (*b.authors, *b.original_authors))
    original = _best(a.original_authors, b.original_authors)
    later = _best(a.authors, b.authors) if a.authors and b.authors else _MAYBE
    if original is _OTHER and later > 0:
        return _MAYBE
    return later if original is _MAYBE else original


def _best(some: Sequence[Author], others: Sequence[Author]) -> int:
    return max(_compare_authors(a, b) for a in some for b in others)


def _compare_authors(a: Author, b: Author) -> int:
    if a.suffix != b.suffix:
        return _OTHER
    agreement = max(_compare_surnames(x, a.is_abbreviated, y, b.is_abbreviated) for x in a.surnames for y in b.surnames)
    if agreement is not _OTHER:
        return agreement if _can_be_one(a.given, b.given) else _OTHER
    is_part = _is_among(a.given, b.surnames) or _is_among(b.given, a.surnames)
    return _MAYBE if is_part else _OTHER


def _compare_surnames(x: str, x_abbreviated: bool, y: str, y_abbreviated: bool) -> int:
    if x == y:
        return _SAME_SURNAME
    (short, is_short_abbreviated), (long, _) = sorted(((x, x_abbreviated), (y, y_abbreviated)), key=lambda pair: len(pair[0]))
    if len(short) > 1 and long.startswith(short):
        return _SHORTENED if is_short_abbreviated or (len(short) > 2 and len(long) - len(short) <= 2) else _MAYBE
    is_similar = x[0] == y[0] and len(short) >= _LEAST_MISSPELT and OSA.normalized_similarity(x, y) >= _LEAST_SIMILAR
    return _MAYBE if is_similar else _OTHER


def _can_be_one(given: Iterable[str], other_given: Iterable[str]) -> bool:
    """True unless both have first names and neither set of initials contains the other."""
    initials, others = (Counter(word[0] for word in words) for words in (given, other_given))
    return not initials or not others or initials <= others or others <= initials


def _is_among(given: Iterable[str], surnames: Iterable[str]) -> bool:
    return any(surname.startswith(word) or word.startswith(surname) for word in given if len(word) > 2 for surname in surnames)


def _team(text: str) -> list[Author]:
    authors: list[Author] = []
    for piece in _TEAM.split(text):
        words = [(word, bool(dot)) for word, dot in _WORD.findall(_ELISION.sub("", piece))]
        if words and authors and all(len(word) == 1 for word, _ in words) and "," in text:
            initials = tuple(word.lower() for word, _ in words)
            authors[-1] = replace(authors[-1], given=(*initials, *authors[-1].given))
        elif words and (author := _author(words)) is not None:
            authors.append(author)
    return authors


def _author(words: list[tuple[str, bool]]) -> Author | None:
    """The last word that is not an initial is the surname; None if there is none."""
    suffix = ""
    while len(words) > 1 and ((last := words[-1][0]) in _SONS or last.lower() in _SONS - {"f"} | _NAMESAKES | _IGNORED):
        suffix = "" if last.lower() in _IGNORED else "f" if last.lower() in _SONS else last.lower()
        words = words[:-1]
    place = max((place for place, (word, _) in enumerate(words) if len(word) > 1), default=-1)
    if place < 0:
        place = 0 if len(words) == 1 and words[0][0].lower() in _meanings() else -1
    if place < 0:
        return None
    surname, is_abbreviated = normalise_surname(words[place][0]), words[place][1]
    before, after = words[:place], words[place + 1 :]
    first = place
    while first and _is_particle(words[first - 1][0]):
        first -= 1
    given = tuple(normalise_surname(word) for word, _ in (*before, *after) if not _is_particle(word))
    meanings = _meanings().get(words[place][0].lower())
    if meanings:
        return Author(meanings, False, given, suffix)
    joined = normalise_surname("".join(word for word, _ in words[first : place + 1]))
    return Author((surname,) if first == place else (surname, joined), is_abbreviated, given, suffix)


def _is_particle(word: str) -> bool:
    return word == "v" or word.lower() in _PARTICLES


@cache
def _meanings() -> dict[str, tuple[str, ...]]:
    """Abbreviation in lower case -> the normalised surnames that it means."""
    meanings: dict[str, tuple[str, ...]] = {}
    for row in read_packaged("bioclip.taxonomy", "data/author_abbreviations.csv"):
        written = row["written"].lower()
        meanings[written] = (*meanings.get(written, ()), normalise_surname(row["surname"]))
    return meanings
