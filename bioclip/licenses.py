"""Licences: a provider's free text to one identifier, and the classes that filters use.

Identifiers are SPDX's for Creative Commons and a few others (https://spdx.org/licenses/). Every licence and every restriction that a
text names is read, and the result is never more open than the strictest of them: two licences of which one includes the other's
restrictions give the stricter one; anything that is contradictory, negated or unknown is `LicenseRef-other`. An empty text, or one that
states only that no licence is given, becomes an empty string. The verbatim text is always kept as well.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

_RESERVED, _PUBLIC, _OTHER, _ZERO = "LicenseRef-all-rights-reserved", "LicenseRef-public-domain", "LicenseRef-other", "CC0-1.0"


def _compiled(*rules: tuple[str, str]) -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile(pattern), identifier) for pattern, identifier in rules)


_UNSTATED = re.compile(r"(?:unspecified|not specified|not stated|not given|unknown|none|n/?a|not applicable|null)\.?")
_RESERVATION = re.compile(
    r"all (?:rights|right) (?:are )?reserved|no licen[cs]e|not licensed|no reuse|tous droits r[ée]serv[ée]s|alle rechte vorbehalten"
    r"|tod[oa]s (?:l?os )?(?:direitos|derechos) reservados|tutti i diritti riservati|alle rechten voorbehouden"
    r"|^(?:c|©|\(c\)|copyright(?:ed)?)\.?$"
)
_NAMED = _compiled(
    (r"cdla\.(?:io|dev)/permissive-(?:v)?1|cdla-permissive-1|community data license agreement.*permissive", "CDLA-Permissive-1.0"),
    (r"cdla\.(?:io|dev)/permissive-(?:v)?2|cdla-permissive-2", "CDLA-Permissive-2.0"),
    (r"fish4knowledge", "LicenseRef-Fish4Knowledge-permissive"),
    (r"\bcc[\s_-]*(?:0|zero)(?![a-z])|creative ?commons zero|no rights reserved|publicdomain/zero", _ZERO),
    (
        r"public[\s-]*domain(?!/zero)|no known (?:copyright|restrictions)(?: restrictions)?|^pd$|copyright[\s-]free|licenses/publicdomain",
        _PUBLIC,
    ),
    (r"\bcc[\s_-]*pd(?:m|[\s_-]mark)?\b", _PUBLIC),
    (r"^mit(?:\b|$)", "MIT"),
    (r"^apache", "Apache-2.0"),
    (r"\bodbl\b|open database licen[cs]e", "ODbL-1.0"),
    (r"\bodc[\s-]by\b", "ODC-By-1.0"),
    (r"\bpddl\b", "PDDL-1.0"),
    (r"\bogl\b|open government licen[cs]e", "LicenseRef-open-government"),
    (r"\bgfdl\b|gnu[\s-]*fdl|gnu free documentation", "LicenseRef-GFDL"),
)
"""Licences other than Creative Commons' six; all that occur in a text count."""

_WORDS = _compiled(
    (r"creative[\s-]*commons", "cc"),
    (
        r"\b(?:no[nt]?|without)[\s-]*(?:for[\s-]*)?commercial(?:[\s-]*use)?|\bnon[\s-]*commercially"
        r"|\b(?:uso )?n(?:o|ã)o?[\s-]*comercia(?:l|is)|\bnicht[\s-]*kommerziell|\bkeine kommerzielle|pas d.utilisation commerciale",
        "nc",
    ),
    (
        r"\bno[\s-]*deriv(?:ative)?s?(?:[\s-]*works?)?|\bno[\s-]*modifications?"
        r"|\bkeine bearbeitung|pas de modification|\bsin (?:obras? )?derivada?s?|\bsem derivaç",
        "nd",
    ),
    (r"\bshare[\s-]*alike", "sa"),
    (r"\battribution\b", "by"),
)
"""Creative Commons' elements in words -> their codes."""
_COMPACT = re.compile(r"(?=.)(cc)?(by)?((?:nc|nd|sa)*)")
"""Codes without separators: `ccbyncsa`, `bync`, `ncnd`."""
_TOKEN = re.compile(r"\d\.\d|[a-z]+|\d+")
_ELEMENT_ORDER = ("by", "nc", "nd", "sa")
_FILLERS = frozenset(
    {"license", "licence", "licensed", "licenses", "licences", "version", "v", "ver", "international", "intl", "unported", "generic"}
    | {"the", "and", "a", "s", "an", "under", "is", "de", "of", "org", "www", "http", "https", "legalcode", "deed", "en"}
)
"""Words that may occur inside the name or address of a licence."""
_DENIALS = frozenset({"not", "never", "except", "excepting", "excluding", "excluded", "excludes", "unless"})


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
    """The identifier of a provider's licence text or URL; see the module's docstring."""
    text = _plain(text)
    if not text or _UNSTATED.fullmatch(text):
        return ""
    if _RESERVATION.search(text):
        return _RESERVED
    named, rest = _named_licenses(text)
    mentions, outside = _read_tokens(_tokens(rest), is_alone=not named)
    found = [*named, *mentions]
    if not found or outside & _DENIALS:
        return _OTHER
    strictest = _strictest(found)
    if strictest is None or not outside & {"nc", "nd"} <= strictest.restrictions:
        return _OTHER
    return strictest.identifier


def _plain(text: str) -> str:
    """Lower case, percent-decoded, with one spelling for each kind of dash, space and version."""
    for _ in range(3):
        text = unquote(text)
    text = unicodedata.normalize("NFKC", text).casefold()
    text = "".join("-" if unicodedata.category(letter) == "Pd" or letter in "\u2212\u00ad" else letter for letter in text)
    text = re.sub(r"(?<=\d)_(?=\d)", ".", text).replace("_", " ")
    return " ".join(text.split())


def _named_licenses(text: str) -> tuple[list[_Mention], str]:
    """Licences other than Creative Commons' six, and the text without them."""
    found = []
    for pattern, identifier in _NAMED:
        text, times = pattern.subn(" ; ", text)
        if times:
            found.append(_Mention(identifier, frozenset()))
    if {_ZERO, _PUBLIC} <= {mention.name for mention in found}:
        found = [mention for mention in found if mention.name != _PUBLIC]
    return found, text


def _tokens(text: str) -> list[str]:
    """Words and versions of a text; Creative Commons' elements as their codes, compact codes (`ccbync`) in parts."""
    for pattern, code in _WORDS:
        text = pattern.sub(f" {code} ", text)
    tokens: list[str] = []
    for token in _TOKEN.findall(text):
        if compact := _COMPACT.fullmatch(token):
            prefix, by, elements = compact.groups()
            tokens += [part for part in (prefix, by) if part] + re.findall("nc|nd|sa", elements)
        else:
            tokens.append(token)
    return tokens


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
        elif word not in _FILLERS:
            outside.add(word)
    return mentions, outside


def _is_part(word: str) -> bool:
    return word in _ELEMENT_ORDER or word in _FILLERS or word[:1].isdigit()


def _mention(tokens: Sequence[str], outside: set[str]) -> Iterator[_Mention]:
    """The licence that the tokens after `cc` name; without `by` they name none, and what they restrict is added to `outside`."""
    elements = [code for code in _ELEMENT_ORDER if code in tokens]
    version = next((token for token in tokens if "." in token), "")
    if "by" in elements:
        yield _Mention("-".join(["CC", *map(str.upper, elements)]), frozenset(elements), version)
    else:
        outside.update(elements)


def _strictest(mentions: Sequence[_Mention]) -> _Mention | None:
    """The mention that has the restrictions of all others; None if there is none, or if licences of several families are named."""
    best = max(mentions, key=lambda mention: len(mention.restrictions))
    if not all(mention.restrictions <= best.restrictions for mention in mentions):
        return None
    free = {_ZERO, _PUBLIC}
    same = [mention for mention in mentions if mention.restrictions == best.restrictions]
    is_mixed = bool(best.restrictions) and any(not mention.restrictions and mention.name not in free for mention in mentions)
    if is_mixed or len({mention.name for mention in same}) > 1:
        return None
    versions = {mention.version for mention in same if mention.version}
    return _Mention(best.name, best.restrictions, versions.pop() if len(versions) == 1 else "")


_CLOSED = {_RESERVED, _OTHER, ""}


def is_allowed(license_id: str, allowed: tuple[str, ...]) -> bool:
    """True when one entry of `allowed` (an identifier, or `any`, `open`, `commercial`, `no-nd`) admits the licence."""
    return any(_admits(entry, license_id) for entry in allowed)


CLASSES = ("any", "open", "commercial", "no-nd")
"""Classes of licences that `is_allowed` knows."""


def _admits(entry: str, license_id: str) -> bool:
    elements = set(license_id.split("-"))
    if entry == "any":
        return True
    if entry == "open":
        return license_id not in _CLOSED and not {"NC", "ND"} & elements
    if entry == "commercial":
        return license_id not in _CLOSED and "NC" not in elements
    if entry == "no-nd":
        return license_id not in _CLOSED and "ND" not in elements
    return entry == license_id


_SPDX = {"MIT", "Apache-2.0", "CDLA-Permissive-1.0", "CDLA-Permissive-2.0", "ODbL-1.0", "ODC-By-1.0", "PDDL-1.0"}
_WITHOUT_ATTRIBUTION = {"CC0-1.0", "PDDL-1.0", _PUBLIC}


def license_url(license_id: str, verbatim: str = "") -> str:
    """Address of a licence's text: from its identifier, else the provider's text if it is an address, else empty.

    A Creative Commons licence without a version has no address of its own: the versions differ.
    """
    if license_id == "CC0-1.0":
        return "https://creativecommons.org/publicdomain/zero/1.0/"
    if match := re.fullmatch(r"CC-(BY(?:-NC|-ND|-SA)*)-(\d\.\d)", license_id):
        return f"https://creativecommons.org/licenses/{match[1].lower()}/{match[2]}/"
    if license_id in _SPDX:
        return f"https://spdx.org/licenses/{license_id}.html"
    text = verbatim.strip()
    return text if re.fullmatch(r"https?://\S+", text) else ""


def needs_attribution(license_id: str) -> bool:
    """True unless the licence waives it (CC0, PDDL) or nobody holds a right; a media item without a stated licence needs it too."""
    return license_id not in _WITHOUT_ATTRIBUTION
