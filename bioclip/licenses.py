"""Licences: a provider's free text to one identifier, and the classes that filters speak of.

Identifiers are SPDX's for Creative Commons and a few others (https://spdx.org/licenses/); anything stated but not known
becomes `LicenseRef-other`, nothing stated an empty string. The verbatim text is always kept beside it.
"""

from __future__ import annotations

import re

_CC_URL = re.compile(r"creativecommons\.org/(?:licenses|publicdomain)/([a-z-]+)/(\d\.\d)?", re.IGNORECASE)
_CC_TEXT = re.compile(r"\bcc[\s_-]*(by(?:[\s_-]*(?:nc|nd|sa))*|0|zero)(?:[\s_-]*v?(\d\.\d))?", re.IGNORECASE)
_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), identifier)
    for pattern, identifier in (
        (r"all rights reserved|no licen[cs]e|not licensed", "LicenseRef-all-rights-reserved"),
        (r"fish4knowledge", "LicenseRef-Fish4Knowledge-permissive"),
        (r"public[\s-]*domain|no known copyright", "LicenseRef-public-domain"),
        (r"^mit(?:\b|$)", "MIT"),
        (r"^apache", "Apache-2.0"),
    )
)
_CLOSED = {"LicenseRef-all-rights-reserved", "LicenseRef-other", ""}


def normalize_license(text: str) -> str:
    """The identifier of a provider's licence text or URL; see the module's docstring."""
    text = text.strip()
    if not text:
        return ""
    if match := _CC_URL.search(text):
        return _creative_commons(match[1], match[2])
    for pattern, identifier in _RULES:
        if pattern.search(text):
            return identifier
    if match := _CC_TEXT.search(text):
        return _creative_commons(match[1], match[2])
    return "LicenseRef-other"


def _creative_commons(elements: str, version: str | None) -> str:
    parts = [part for part in re.split(r"[\s_-]+", elements.lower()) if part]
    if parts[0] in {"0", "zero", "publicdomain"}:
        return "CC0-1.0"
    if parts[0] == "mark":
        return "LicenseRef-public-domain"
    ordered = [part.upper() for part in ("by", "nc", "nd", "sa") if part in parts]
    return "-".join(["CC", *ordered, *([version] if version else [])])


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
