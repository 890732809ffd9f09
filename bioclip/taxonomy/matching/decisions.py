"""Input and output of name matching."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bioclip.taxonomy.names.ranks import EMPTY_LINEAGE, Lineage


class MatchType(StrEnum):
    """How a name was resolved."""

    EXACT = "EXACT"
    NORMALIZED = "NORMALIZED"
    """The same name in another spelling: case, markers, hybrid signs, diacritics."""
    STEM = "STEM"
    """Another ending or orthographic variant of the epithet."""
    FUZZY = "FUZZY"
    """One or two edits away, within the genus or in the genus itself."""
    HIGHER_RANK = "HIGHER_RANK"
    """Only a higher taxon of the record's name is known or certain."""
    LABEL = "LABEL"
    """No backbone has the name; the label that the source gives is kept, below a higher taxon where one is certain."""
    AMBIGUOUS = "AMBIGUOUS"
    NONE = "NONE"


@dataclass(frozen=True, slots=True)
class VerbatimLineage:
    """A provider's statements on a name: the columns of VERBATIM_NAME_COLUMNS without `label`, which decides no match."""

    scientific_name: str = ""
    scientific_name_authorship: str = ""
    taxon_rank: str = ""
    kingdom: str = ""
    phylum: str = ""
    class_: str = ""
    order: str = ""
    family: str = ""
    genus: str = ""
    specific_epithet: str = ""
    vernacular_name: str = ""


@dataclass(frozen=True, slots=True)
class Resolution:
    """The decision on one verbatim lineage. Unresolved ones have empty ranks and a `reason`.

    Reasons of unresolved names: `empty_name`, `placeholder`, `identifier`, `virus`, `non_taxon`, `unparsable`,
    `hybrid_formula`, `open_nomenclature`, `not_in_backbone`, `homonym_ambiguous`, `kingdom_conflict`, `low_confidence`. For
    HIGHER_RANK, the reason states why the name itself was not resolved.
    """

    match_type: MatchType
    reason: str = ""
    canonical_name: str = ""
    confidence: int = 0
    margin: int = 0
    """Lead in score over the next taxon, at most 100; 100 when there is no other."""
    matched_id: str = ""
    matched_name: str = ""
    accepted_id: str = ""
    accepted_name: str = ""
    resolved_rank: str = ""
    lineage: Lineage = EMPTY_LINEAGE
    infraspecific: str = ""
    qualifier: str = ""
    common_name: str = ""
    backbone: str = ""
    rank_sources: str = ""
    """Source of each rank of the lineage: one letter of SOURCE_LETTERS for each of RANKS."""
    contradicts: str = ""
    """Ranks at which the record's own columns name another taxon than the lineage, comma-separated."""
    curation: str = ""
    """Who decided and why, for a manual decision."""

    @property
    def is_resolved(self) -> bool:
        """True when there is an accepted taxon."""
        return bool(self.accepted_id)
