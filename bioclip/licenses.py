"""Licences: a provider's free text to one identifier, and the classes that filters speak of.

Identifiers are SPDX's for Creative Commons and a few others (https://spdx.org/licenses/); anything stated but not known
becomes `LicenseRef-other`, nothing stated (or only that nothing is) an empty string. The verbatim text is always kept too.
"""

from __future__ import annotations

import re
from functools import lru_cache

_RESERVED, _PUBLIC = "LicenseRef-all-rights-reserved", "LicenseRef-public-domain"
_CREATIVE_COMMONS = ""

_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), identifier)
    for pattern, identifier in (
        # An address is exact, so it decides before the words around it.
        (r"creativecommons\.org/(?:publicdomain/mark|licenses/publicdomain)", _PUBLIC),
        (r"creativecommons\.org/publicdomain/zero", "CC0-1.0"),
        (r"creativecommons\.org/licenses/(?P<elements>by[a-z-]*)(?:/(?P<major>\d)\.(?P<minor>\d))?", _CREATIVE_COMMONS),
        (r"cdla\.(?:io|dev)/permissive-(?:v)?1|cdla-permissive-1", "CDLA-Permissive-1.0"),
        (r"cdla\.(?:io|dev)/permissive-(?:v)?2|cdla-permissive-2", "CDLA-Permissive-2.0"),
        # GBIF's and others' words for nothing.
        (r"^(?:unspecified|not specified|not stated|not given|unknown|none|n/?a|not applicable|null)\.?$", "unstated"),
        # A reservation outweighs the name of a licence; iNaturalist writes C.
        (r"all rights reserved|all rights are reserved|no licen[cs]e|not licensed|no reuse", _RESERVED),
        (r"tous droits r[ée]serv[ée]s|alle rechte vorbehalten|tod[oa]s (?:l?os )?(?:direitos|derechos) reservados", _RESERVED),
        (r"tutti i diritti riservati|alle rechten voorbehouden", _RESERVED),
        (r"^(?:c|©|\(c\)|copyright(?:ed)?)\.?$", _RESERVED),
        # Creative Commons by code: CC-BY-NC 4.0, CC_BY_NC_4_0, ccbyncsa, by-nc-sa.
        (r"\bcc[\s_-]*(?:0|zero)(?![a-z])", "CC0-1.0"),
        (r"\bcc[\s_-]*pd(?:m|[\s_-]mark)?\b", _PUBLIC),
        (r"\bcc[\s_-]*(?P<elements>by(?:[\s_-]*(?:nc|nd|sa))*)(?![a-z])(?:[\s_-]*v?(?P<major>\d)[._](?P<minor>\d))?", _CREATIVE_COMMONS),
        (r"^\(?(?P<elements>by(?:-(?:nc|nd|sa))*)\)?(?:[\s_-]*(?P<major>\d)\.(?P<minor>\d))?$", _CREATIVE_COMMONS),
        # Creative Commons in words, as Creative Commons itself, BOLD and iNaturalist write it.
        (r"(?:creative ?commons\W*|^)(?P<elements>attribution"
         r"(?:[\s_-]*(?:non-?commercial|no[\s-]?derivatives?|no[\s-]?derivs|share[\s-]?alike))*)"
         r"(?=$|\W*(?:licen[cs]e|v?\d|\(|international|generic|unported))(?:[\s_-]*(?:licen[cs]e)?[\s_-]*v?(?P<major>\d)\.(?P<minor>\d))?",
         _CREATIVE_COMMONS),
        (r"creative ?commons zero|no rights reserved", "CC0-1.0"),
        (r"fish4knowledge", "LicenseRef-Fish4Knowledge-permissive"),
        (r"public[\s-]*domain|no known (?:copyright|restrictions)|^pd$|copyright[\s-]free", _PUBLIC),
        (r"community data license agreement.*permissive", "CDLA-Permissive-1.0"),
        (r"^mit(?:\b|$)", "MIT"),
        (r"^apache", "Apache-2.0"),
        (r"\bodbl\b|open database licen[cs]e", "ODbL-1.0"),
        (r"\bodc[\s-]by\b", "ODC-By-1.0"),
        (r"\bpddl\b", "PDDL-1.0"),
        (r"\bogl\b|open government licen[cs]e", "LicenseRef-open-government"),
        (r"\bgfdl\b|gnu[\s-]*fdl|gnu free documentation", "LicenseRef-GFDL"),
    )
)  # fmt: skip
"""Tried in order; the first that occurs in the text decides. An empty identifier is Creative Commons by its groups."""

_ELEMENTS = (
    ("BY", re.compile(r"by|attribution", re.IGNORECASE)),
    ("NC", re.compile(r"nc|non-?commercial", re.IGNORECASE)),
    ("ND", re.compile(r"nd|no[\s-]?deriv", re.IGNORECASE)),
    ("SA", re.compile(r"sa|share[\s-]?alike", re.IGNORECASE)),
)
_CLOSED = {_RESERVED, "LicenseRef-other", ""}


@lru_cache(maxsize=65536)
def normalize_license(text: str) -> str:
    """The identifier of a provider's licence text or URL; see the module's docstring."""
    text = text.strip()
    if not text:
        return ""
    for pattern, identifier in _RULES:
        if match := pattern.search(text):
            if identifier == _CREATIVE_COMMONS:
                return _creative_commons(match["elements"], match["major"], match["minor"])
            return "" if identifier == "unstated" else identifier
    return "LicenseRef-other"


def _creative_commons(elements: str, major: str | None, minor: str | None) -> str:
    names = [name for name, pattern in _ELEMENTS if pattern.search(elements)]
    return "-".join(["CC", *names, *([f"{major}.{minor}"] if major else [])])


def is_allowed(license_id: str, allowed: tuple[str, ...]) -> bool:
    """True when one entry of `allowed` (an identifier, or `any`, `open`, `commercial`, `no-nd`) admits the licence."""
    return any(_admits(entry, license_id) for entry in allowed)


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
    """Address of a licence's text: by its identifier, else the provider's own words where they are an address, else empty.

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
    """True unless the licence waives it (CC0, PDDL) or nobody holds a right; what states no licence needs it too."""
    return license_id not in _WITHOUT_ATTRIBUTION
