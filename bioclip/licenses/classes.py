"""Classes of licences that filters use, and what a licence asks of those who publish."""

from __future__ import annotations

import re

from bioclip.licenses.vocabulary import OTHER, PUBLIC, RESERVED

_CLOSED = {RESERVED, OTHER, ""}


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
_WITHOUT_ATTRIBUTION = {"CC0-1.0", "PDDL-1.0", PUBLIC}


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
