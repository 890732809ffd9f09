"""Texts of classes as BioCLIP's evaluation writes them (Stevens et al. 2024; repository Imageomics/bioclip, `src/imageomics`).

Its rule differs from that of a release's captions in four places: each name is capitalised and the epithet lower-cased, in any
table; a rank without a name leaves its space; a class without a common name has no clause on it; and a class without a kingdom is
named by genus and epithet alone. The type `asis` is the label of the table, underscores included.
"""

from __future__ import annotations

from collections.abc import Mapping

TEXT_TYPES = ("asis", "sci", "com", "taxon", "sci_com", "taxon_com")
"""BioCLIP's names of its text types."""
_HIGHER = ("kingdom", "phylum", "class", "order", "family", "genus")
_COMMON = " with common name "


def bioclip_texts(names: Mapping[str, str], common_name: str, label: str) -> dict[str, str]:
    """The text of a class by type, without a template.

    `names` maps kingdom to genus and `epithet` to verbatim names, '' or absent where there is none. Without a genus there are no
    texts but `asis` and `com`.
    """
    genus, epithet = names.get("genus", "").capitalize(), names.get("epithet", "").lower()
    texts = {"asis": label, "com": common_name}
    if not genus:
        return texts
    sci = f"{genus} {epithet}" if epithet else genus
    ranked = [names.get(rank, "").capitalize() for rank in _HIGHER]
    taxon = " ".join([*ranked, epithet] if ranked[0] else [genus, epithet])
    clause = f"{_COMMON}{common_name}" if common_name else ""
    return texts | {"sci": sci, "taxon": taxon, "sci_com": sci + clause, "taxon_com": taxon + clause}
