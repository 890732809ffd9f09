"""Keys of names: one normal form for all spellings of the same name."""

from __future__ import annotations

import re
from functools import lru_cache

from bioclip.taxonomy.names.parsing import NameType, fold, parse_name

_PLAIN = re.compile(r"[A-Z][a-z]+(?:-[a-z]+)*(?: [a-z]{2,}(?:-[a-z]+)*){0,2}")
_NUM_CACHED = 65_536
_MARKERS = {"×", "x", "subsp.", "ssp.", "var.", "f.", "forma", "nothosubsp.", "nothovar.", "subvar.", "subf.", "fo."}


@lru_cache(_NUM_CACHED)
def name_key(name: str) -> str:
    """`name` (without authorship) in lower-case ASCII, without hybrid signs, rank markers and apostrophes, with numerals in words."""
    words = name.replace("×", "× ").lower().split()
    key = fold(" ".join(word for word in words if word not in _MARKERS))
    return key if key.replace(" ", "").isalpha() else _WRITTEN_OTHERWISE.sub(_spell, key)


_NUMERALS = {
    "2": "bi", "3": "tri", "4": "quadri", "5": "quinque", "6": "sex", "7": "septem", "8": "octo", "9": "novem", "10": "decem",
    "11": "undecim", "12": "duodecim", "13": "tredecim", "14": "quatuordecim", "15": "quindecim", "16": "sedecim", "17": "septendecim",
    "18": "octodecim", "19": "novendecim", "20": "viginti", "22": "vigintiduo", "24": "vigintiquatuor",
}  # fmt: skip
"""Numerals that begin an epithet are words (ICZN art. 32.5.2.4.3, ICN art. 60.11)."""
_WRITTEN_OTHERWISE = re.compile(r"(?<= )(\d+)[-.]?(?=[a-z]{3})|(?<= st)\.(?=-)|'(?=[a-z])")


def _spell(match: re.Match[str]) -> str:
    return _NUMERALS.get(match[1], match.group()) if match[1] else ""


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
