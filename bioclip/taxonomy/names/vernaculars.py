"""One common name per taxon, chosen by deterministic rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from bioclip.taxonomy.backbones.usages import Vernacular

_CODES = {"english": "en", "eng": "en", "french": "fr", "fra": "fr", "fre": "fr", "spanish": "es", "spa": "es", "german": "de", "deu": "de",
          "ger": "de", "portuguese": "pt", "por": "pt", "dutch": "nl", "nld": "nl", "italian": "it", "ita": "it"}  # fmt: skip
"""Names and three-letter codes of languages (ISO 639-2, 639-3) -> two-letter codes."""


def language_code(language: str) -> str:
    """`en` for `en`, `eng`, `English` and regional forms such as `en-GB`; an unknown language is returned in lower case."""
    code = language.strip().lower().replace("_", "-").split("-")[0]
    return _CODES.get(code, code)


def speaks(language: str, wanted: str) -> bool:
    """True if a vernacular name has the wanted language; a name without language does not."""
    return bool(language.strip()) and language_code(language) == language_code(wanted)


def choose_vernaculars(known: Mapping[int, Sequence[Vernacular]], source_priority: tuple[str, ...] = ()) -> dict[int, Vernacular]:
    """One of the vernacular names (all of one language) of each taxon that has some.

    In order: preferred by its source, the source's place in `source_priority` (sources not listed come last), the number of
    occurrences (ignoring case), the alphabet.
    """
    return {taxon: _first(vernaculars, source_priority) for taxon, vernaculars in known.items() if vernaculars}


def choose_verbatim_name(given: Counter[str]) -> str:
    """The name that records give most often for a taxon without an English name in its backbone; ties are broken alphabetically."""
    return min(given, key=lambda name: (-given[name], name), default="")


def _first(vernaculars: Sequence[Vernacular], source_priority: tuple[str, ...]) -> Vernacular:
    places = {source: place for place, source in enumerate(source_priority)}
    times = Counter(vernacular.name.casefold() for vernacular in vernaculars)

    def order(vernacular: Vernacular) -> tuple[bool, int, int, str, str, str]:
        name, source = vernacular.name, vernacular.source
        return not vernacular.preferred, places.get(source, len(places)), -times[name.casefold()], name.casefold(), name, source

    return min(vernaculars, key=order)
