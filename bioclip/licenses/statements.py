"""A provider's free text to one identifier."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from bioclip.licenses.vocabulary import (
    DENIALS,
    ELEMENTS,
    FILLERS,
    HOLDER,
    IDENTIFIERS,
    IMAGE_SCOPE,
    NAMED,
    NEUTRAL,
    OTHER,
    OTHER_SCOPES,
    PUBLIC,
    PURPOSES,
    RESERVATION,
    RESERVED,
    UNSTATED,
    ZERO,
    without_accents,
)

_COMPACT = re.compile(r"(?=.)(cc)?(by)?((?:nc|nd|sa)*)", re.IGNORECASE)
"""Codes without separators: `ccbyncsa`, `bync`, `ncnd`."""
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+")
_ELEMENT_ORDER = ("by", "nc", "nd", "sa")
_VERSIONS = frozenset("1234")
_CLAUSE = re.compile(r"[;,|\n]|\.\s|\s/\s|\band\b", re.IGNORECASE)
_DOUBT = re.compile(r"\?(?=\s|\)|$)|\b(?:by|nc|nd|sa)-(?:\*|[a-z]\b)", re.IGNORECASE)
"""A question mark, or an element that is not one."""
_ADDRESS_ENDS = re.compile(r"/(?:deed|legalcode|rdf)[\w.#-]*|(?<=[/\d])\?\w+=\S*", re.IGNORECASE)
_TAG = re.compile(r"</?(?:a|br|img|span|p|div|b|i|em|strong)\b(?:[^<>]*?\bhref=[\"']([^\"']*)[\"'])?[^<>]*>", re.IGNORECASE)
_JURISDICTION = re.compile(r"(?<=\d\.\d)[-/](?!(?:by|nc|nd|sa)\b)(?:igo|[a-z]{2})\b", re.IGNORECASE)
_FOREIGN = re.compile(r"https?://(?!\S*(?:licen|terms|rights|permission|polic|legal|usage))\S+|\S+@\S+", re.IGNORECASE)
_INITIALS = re.compile(r"\b(?:[a-z]\.){2,}", re.IGNORECASE)
_SOME_RIGHTS = re.compile(r"\bsome[\s-]*rights[\s-]*reserved", re.IGNORECASE)


@dataclass(frozen=True)
class _Mention:
    """A licence that a text names, with its restrictions; `version` is empty where none is given."""

    name: str
    restrictions: frozenset[str]
    version: str = ""

    @property
    def identifier(self) -> str:
        return f"{self.name}-{self.version}" if self.version else self.name


@lru_cache(maxsize=65536)
def normalize_license(text: str) -> str:
    """The identifier of a provider's licence text or URL; see the package's docstring."""
    if text.strip() in IDENTIFIERS:
        return text.strip()
    text = plain_text(text)
    if not text or UNSTATED.fullmatch(text):
        return ""
    statement, holders = _without_holders(text)
    names = {word.lower() for word in _words(holders)}
    if holders and RESERVATION.search(holders):
        return RESERVED
    strictest = _read(statement)
    if isinstance(strictest, str):
        return strictest
    is_denied = any(map(DENIALS.fullmatch, names)) or not names.isdisjoint(OTHER_SCOPES)
    return OTHER if is_denied or not names & {"nc", "nd"} <= strictest.restrictions else strictest.identifier


def plain_text(text: str) -> str:
    """The text percent-decoded, with one spelling for each kind of dash, space and version, and without accents and HTML entities."""
    for _ in range(3):
        text = unquote(text)
    text = _TAG.sub(lambda tag: f" {tag[1] or ''} ", html.unescape(text).replace("\\/", "/")) if set(text) & set("<&\\") else text
    if not text.isascii():
        text = without_accents(unicodedata.normalize("NFKC", text))
        text = "".join("-" if unicodedata.category(letter) in {"Pd", "Cf"} or letter == "\u2212" else letter for letter in text)
    text = re.sub(r"(?<=\d)[_,](?=\d)", ".", text).replace("_", " ")
    text = _INITIALS.sub(lambda found: found.group().replace(".", ""), text)
    return " ".join(text.split()) if any(map(str.islower, text)) else " ".join(text.lower().split())


@lru_cache(maxsize=4096)
def _read(text: str) -> _Mention | str:
    """The strictest licence of a text without copyright notices, or the identifier that applies where there is none to rely on."""
    if RESERVATION.search(text):
        return RESERVED
    strictest, outside = _mentioned(text)
    if strictest is None or _DOUBT.search(text) or not outside & {"nc", "nd"} <= strictest.restrictions:
        return OTHER
    if outside & OTHER_SCOPES and not any(_is_for_images(clause, strictest) for clause in _CLAUSE.split(text)):
        return OTHER
    return strictest


def _is_for_images(clause: str, license_: _Mention) -> bool:
    """True if this part of a text, which has licences for other things too, gives images the licence."""
    if not IMAGE_SCOPE.search(clause):
        return False
    found, outside = _mentioned(clause)
    return found == license_ and not outside & OTHER_SCOPES


def _mentioned(text: str) -> tuple[_Mention | None, set[str]]:
    """The strictest of the licences in a text, and the words beside them in lower case; None where no licence can be relied on."""
    named, rest = _named_licenses(_ADDRESS_ENDS.sub(" ", text))
    rest = _JURISDICTION.sub(" ", _SOME_RIGHTS.sub(" ", rest))
    mentions, outside = _read_tokens(_tokens(_FOREIGN.sub(" ", rest)), is_alone=not named)
    found = [*named, *mentions]
    words = {word.lower() for word in outside}
    return (_strictest(found) if found and all(map(_is_harmless, outside)) else None), words


def _named_licenses(text: str) -> tuple[list[_Mention], str]:
    """Licences other than Creative Commons' six, and the text without them."""
    found = []
    for pattern, identifier in NAMED:
        text, times = pattern.subn(" ; ", text)
        if times:
            found.append(_Mention(identifier, frozenset()))
    if {ZERO, PUBLIC} <= {mention.name for mention in found}:
        found = [mention for mention in found if mention.name != PUBLIC]
    return found, text


def _without_holders(text: str) -> tuple[str, str]:
    """The text without copyright notices and credits, and these."""
    holders: list[str] = []

    def take(found: re.Match[str]) -> str:
        holders.append(found.group())
        return " ; "

    return HOLDER.sub(take, text), " ".join(holders)


def _tokens(text: str) -> list[str]:
    """Words and versions of a text; Creative Commons' elements as their codes."""
    for pattern, code in ELEMENTS:
        text = pattern.sub(f" {code} ", text)
    return _words(text)


def _words(text: str) -> list[str]:
    """Words and versions; compact codes (`ccbync`) in parts."""
    tokens: list[str] = []
    for token in _TOKEN.findall(text):
        if compact := _COMPACT.fullmatch(token):
            prefix, by, elements = compact.groups()
            tokens += [part.lower() for part in (prefix, by) if part] + re.findall("nc|nd|sa", elements.lower())
        else:
            tokens.append(token)
    return tokens


def _is_harmless(word: str) -> bool:
    """True for a word that adds no restriction to the licence: a neutral word, a number, or a name (it begins with a capital)."""
    lower = word.lower()
    if DENIALS.fullmatch(lower) or PURPOSES.fullmatch(lower):
        return False
    is_known = lower in NEUTRAL or lower in OTHER_SCOPES or lower in _ELEMENT_ORDER
    return is_known or word[0].isupper() or word[0].isdigit() or (len(word) == 1 and word.isascii())


def _read_tokens(tokens: Sequence[str], is_alone: bool) -> tuple[list[_Mention], set[str]]:
    """The Creative Commons licences among the tokens, and the tokens that belong to none of them.

    A licence begins with `cc` or, where nothing else is before it, with `by`; it ends at the first token that is not part of one.
    """
    start = [*tokens, "cc"].index("cc")
    is_named = start < len(tokens) or is_alone
    current: list[str] | None = [] if is_named and all(map(_is_part, tokens[:start])) else None
    mentions: list[_Mention] = []
    outside: set[str] = set()
    for word in [*tokens, ""]:
        if current is not None and not _is_part(word):
            mentions += _mention(current, outside)
            current = None
        if word == "cc":
            current = []
        elif current is not None:
            current.append(word)
        elif word.lower() not in FILLERS and word:
            outside.add(word)
    return mentions, outside


def _is_part(word: str) -> bool:
    return word in _ELEMENT_ORDER or word.lower() in FILLERS or word[:1].isdigit()


def _mention(tokens: Sequence[str], outside: set[str]) -> Iterator[_Mention]:
    """The licence that the tokens after `cc` name; without `by` they name none, and what they restrict is added to `outside`."""
    elements = [code for code in _ELEMENT_ORDER if code in tokens]
    numbers = [token for token in tokens if token[0].isdigit()]
    version = next((token for token in numbers if "." in token), "")
    if not version and len(numbers) == 1 and numbers[0] in _VERSIONS:
        version = f"{numbers[0]}.0"
    if "by" in elements:
        yield _Mention("-".join(["CC", *map(str.upper, elements)]), frozenset(elements), version)
    else:
        outside.update(elements)


def _strictest(mentions: Sequence[_Mention]) -> _Mention | None:
    """The mention that has the restrictions of all others; None if there is none, or if licences of several families are named."""
    best = max(mentions, key=lambda mention: len(mention.restrictions))
    if not all(mention.restrictions <= best.restrictions for mention in mentions):
        return None
    free = {ZERO, PUBLIC}
    same = [mention for mention in mentions if mention.restrictions == best.restrictions]
    is_mixed = bool(best.restrictions) and any(not mention.restrictions and mention.name not in free for mention in mentions)
    if is_mixed or len({mention.name for mention in same}) > 1:
        return None
    versions = {mention.version for mention in same if mention.version}
    return _Mention(best.name, best.restrictions, versions.pop() if len(versions) == 1 else "")
