"""BioCLIP's ten text members of a sample, from an accepted lineage.

Wording after the released shards of TreeOfLife-10M (Stevens et al., CVPR 2024). A lineage may end above the species: the
scientific name is then the name at its lowest rank, as in BioCLIP. Without a common name the scientific one stands in.
"""

from __future__ import annotations

from collections.abc import Mapping

from bioclip.records import RANKS

TEXT_MEMBERS = (
    "scientific_name",
    "taxonomic_name",
    "common_name",
    "sci",
    "com",
    "taxon",
    "taxonTag",
    "sci_com",
    "taxon_com",
    "taxonTag_com",
)
"""Member names, each stored as `<record id>.<name>.txt`."""


def scientific_name(lineage: Mapping[str, str]) -> str:
    """The binomial, or the name at the lowest rank that is filled; empty when none is."""
    return next((lineage[rank] for rank in reversed(RANKS) if lineage.get(rank)), "")


def ranked_names(lineage: Mapping[str, str]) -> list[tuple[str, str]]:
    """(rank, name) of each filled rank from the root; the species comes as its epithet alone, since the genus precedes it."""
    names = [(rank, lineage[rank]) for rank in RANKS if lineage.get(rank)]
    if names and names[-1][0] == "species" and lineage.get("genus"):
        names[-1] = ("species", names[-1][1].removeprefix(lineage["genus"] + " "))
    return names


def captions(lineage: Mapping[str, str], common_name: str) -> dict[str, str]:
    """The ten texts by member name. `lineage` maps kingdom..species (full binomial) to accepted names or ''."""
    sci = scientific_name(lineage)
    names = ranked_names(lineage)
    taxon = " ".join(name for _, name in names)
    tagged = " ".join(f"{rank} {name}" for rank, name in names)
    com = common_name or sci
    return {
        "scientific_name": sci,
        "taxonomic_name": taxon,
        "common_name": com,
        "sci": f"a photo of {sci}.",
        "com": f"a photo of {com}.",
        "taxon": f"a photo of {taxon}.",
        "taxonTag": f"a photo of {tagged}.",
        "sci_com": f"a photo of {sci} with common name {com}.",
        "taxon_com": f"a photo of {taxon} with common name {com}.",
        "taxonTag_com": f"a photo of {tagged} with common name {com}.",
    }
