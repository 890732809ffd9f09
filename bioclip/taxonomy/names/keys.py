"""Keys of names: one normal form for all spellings of the same name."""

from __future__ import annotations

import re

from bioclip.taxonomy.names.parsing import NameType, fold, parse_name

_PLAIN = re.compile(r"[A-Z][a-z]+(?:-[a-z]+)*(?: [a-z]{2,}(?:-[a-z]+)*){0,2}")
_MARKERS = {"×", "x", "subsp.", "ssp.", "var.", "f.", "forma", "nothosubsp.", "nothovar.", "subvar.", "subf.", "fo."}


def name_key(name: str) -> str:
    """`name` (without authorship) in lower-case ASCII, without hybrid signs and rank markers."""
    words = name.replace("×", "× ").lower().split()
    return fold(" ".join(word for word in words if word not in _MARKERS))


def canonical_name(scientific_name: str, authorship: str = "", canonical: str = "", rank: str = "") -> str:
    """A backbone's name without authorship; parsed only if it is not plain. A name that cannot be parsed is unchanged."""
    name = " ".join((canonical or scientific_name).split())
    if not canonical and authorship:
        name = name.removesuffix(" ".join(authorship.split())).rstrip(" ,") or name
    if _PLAIN.fullmatch(name):
        return name
    parsed = parse_name(name, "", rank)
    if parsed.type is NameType.SCIENTIFIC:
        return parsed.canonical_full if parsed.canonical_full.startswith(parsed.canonical_name) else parsed.canonical_name
    return name
