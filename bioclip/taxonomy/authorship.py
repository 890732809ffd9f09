"""Whether two authorships can be the same: surnames by their abbreviations, years where both have one."""

from __future__ import annotations

import re

from bioclip.taxonomy.names import fold

_YEAR = re.compile(r"\b(1[5-9]\d\d|20\d\d)\b")
_WORD = re.compile(r"[a-z]+")
_PARTICLES = frozenset(
    re.split(
        r"\s", "and auct da das de del den der des di do dos du emend et ex f fil filius hort in la le non nec sensu van ver vom von zu"
    )
)


def compare_authorship(one: str, other: str) -> int:
    """1 when they agree, -1 when they differ, 0 when either says nothing or years alone disagree."""
    names, other_names = _surnames(one), _surnames(other)
    if not names or not other_names:
        return 0
    if not any(a.startswith(b) or b.startswith(a) for a in names for b in other_names):
        return -1
    years, other_years = set(_YEAR.findall(one)), set(_YEAR.findall(other))
    return 1 if not years or not other_years or years & other_years else 0


def _surnames(authorship: str) -> set[str]:
    words = [word for word in _WORD.findall(fold(authorship).lower()) if word not in _PARTICLES]
    return {word for word in words if len(word) > 1} or set(words)
