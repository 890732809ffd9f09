"""One common name a taxon, chosen by rules that give the same answer everywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from bioclip.taxonomy.backbones.usages import Vernacular


def is_english(language: str) -> bool:
    """True for `en`, `eng`, `English` and regional forms such as `en-GB`."""
    code = language.strip().lower().replace("_", "-").split("-")[0]
    return code in {"en", "eng", "english"}


def choose_common_names(known: Mapping[int, Sequence[Vernacular]], source_priority: tuple[str, ...] = ()) -> dict[int, str]:
    """The English common name of each taxon that has one.

    In order: preferred by its source, the source's place in `source_priority` (sources not listed come last), the number of
    times it is given (letter case aside), the alphabet.
    """
    chosen: dict[int, str] = {}
    for taxon, vernaculars in known.items():
        english = [vernacular for vernacular in vernaculars if is_english(vernacular.language) and vernacular.name.strip()]
        if english:
            chosen[taxon] = _first(english, source_priority)
    return chosen


def choose_verbatim_name(given: Counter[str]) -> str:
    """The name that records give most often for a taxon without an English name in its backbone; ties go by the alphabet."""
    return min(given, key=lambda name: (-given[name], name), default="")


def _first(vernaculars: Sequence[Vernacular], source_priority: tuple[str, ...]) -> str:
    places = {source: place for place, source in enumerate(source_priority)}
    times = Counter(vernacular.name.casefold() for vernacular in vernaculars)

    def order(vernacular: Vernacular) -> tuple[bool, int, int, str, str]:
        name = vernacular.name
        return not vernacular.preferred, places.get(vernacular.source, len(places)), -times[name.casefold()], name.casefold(), name

    return " ".join(min(vernaculars, key=order).name.split())
