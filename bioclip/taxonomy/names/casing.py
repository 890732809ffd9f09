"""Restores the capitals of names written in a single case."""

from __future__ import annotations

import re

from bioclip.taxonomy.names.ranks import is_infraspecific, rank_by_suffix

_RANK_MARKERS = frozenset({"var", "subsp", "ssp", "subvar", "f", "fo", "forma", "cf", "aff", "nr", "x", "×"})
_MARKERS = _RANK_MARKERS | {"sp", "spp", "et", "ex", "in"}
_LOWER_AUTHOR = re.compile(
    r"(?P<name>[a-z]{2,} [a-z]{3,}(?:-[a-z]+)?(?: (?:(?:var|subsp|ssp|f|fo)\. )?[a-z]{3,}(?:-[a-z]+)?)??)"
    r"(?P<author>,? (?!(?:var|subsp|ssp|f|fo|cf|aff|nr|sp|spp|s)\.)\(?(?:[a-z]\.(?:[a-z]\.)*[a-z]*\.?|[a-z.&\- ]+,? \d{4})\)?)"
)
_TWO_CAPITALS = re.compile(r"([A-Z][a-z]+ )([A-Z](?:[a-z]{2,}|[A-Z]{2,})\b)(?=$| )")


def restore_case(text: str, rank: str) -> str:
    """Names in usual case; a word that could be an author is left unchanged.

    A single lower-case word is a name only if its ending or `rank` (normalised) shows that it is not an epithet.
    """
    if text.isupper() and " " in text:
        return _from_upper(text.split(" "), rank)
    if text[1:].islower() and (match := _LOWER_AUTHOR.fullmatch(text.lower())):
        return match["name"].capitalize() + match["author"].title()
    if rank == "species" and (match := _TWO_CAPITALS.match(text)):
        return match[1] + match[2].lower() + text[match.end() :]
    first, _, rest = text.partition(" ")
    if rest and first.islower() and rank_by_suffix(first) and rest not in {"family", "order", "class"}:
        return first.capitalize() + " " + rest
    is_lone = text.isalpha() and (text.islower() or text.isupper())
    if is_lone and (rank_by_suffix(text) or (rank and rank != "species" and not is_infraspecific(rank))):
        return text.capitalize()
    return text


def _from_upper(words: list[str], rank: str) -> str:
    genus, *rest = words
    is_higher = rank_by_suffix(genus) == "family" or (rank not in {"", "species"} and not is_infraspecific(rank))
    has_author = any(char in ",.()&" or char.isdigit() for word in rest for char in word if not _is_marker(word))
    written, wants_epithet = [genus.capitalize()], not is_higher
    for place, word in enumerate(rest):
        is_epithet = wants_epithet and word.replace("-", "").isalpha()
        wants_epithet = False
        if _is_marker(word):
            written.append(word.lower())
            wants_epithet = word.rstrip(".").lower() in _RANK_MARKERS
        elif is_epithet or (place > 0 and not has_author):
            written.append(word.lower())
        else:
            written.append(word.title())
    return " ".join(written)


def _is_marker(word: str) -> bool:
    return word.rstrip(".").lower() in _MARKERS
