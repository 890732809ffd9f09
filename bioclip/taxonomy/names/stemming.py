"""Orthographic stems of epithets: variation that the codes and usage allow is removed or normalised.

Gender endings (also niger/nigra, sylvester/sylvestris, viator/viatrix), genitives in -i, -ii, -ei and -yi, i/j/y, ae/oe/e, ph/f, doubled
letters, h after g, t and r, hyphens (ICN art. 60, ICZN art. 58).
"""

from __future__ import annotations

import re
from functools import cache

_PATTERNS = (
    (r"-", ""), (r"[ao]e", "e"), (r"[jy]", "i"), (r"ph", "f"), (r"(?<=[gtr])h", ""), (r"(.)\1+", r"\1"),
    (r"ou(?=[sm]$)", "u"), (r"trix$", "tor"), (r"(?<=[bcdfgpt])r(?:a|um|is|e|on)$|(?<=ch)r(?:a|um)$", "er"),
)  # fmt: skip
_REWRITES = tuple((re.compile(pattern), replacement) for pattern, replacement in _PATTERNS)
_ANY = re.compile("|".join(pattern for pattern, _ in _PATTERNS))
_PLACE = re.compile(r"ens(?:is|e|em)$")
_ENDING = re.compile(r"(?:orum|arum|us|um|is|os|(?<=[cdlmnprt])on|a|e|ei|i)$")
_LEAST_STEM = 3


@cache
def stem_key(epithet: str) -> str:
    """The part of an epithet (of a key: lower-case ASCII) that is equal in all spellings."""
    for pattern, replacement in _REWRITES if _ANY.search(epithet) else ():
        epithet = pattern.sub(replacement, epithet)
    cut = _ENDING.sub("", _PLACE.sub("ens", epithet))
    return cut if len(cut) >= _LEAST_STEM else epithet


def stems_of(epithets: str) -> str:
    """The stem of each of `epithets`, separated by spaces."""
    return " ".join(stem_key(epithet) for epithet in epithets.split(" "))
