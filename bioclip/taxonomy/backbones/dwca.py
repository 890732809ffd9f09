"""Backbones as Darwin Core Archives: a Taxon core and an optional VernacularName extension.

The GBIF backbone, Catalogue of Life, WFO, EOL's Dynamic Hierarchy and iNaturalist all publish one, or a single headed table of
Darwin Core terms. Subclasses implement their differences.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from bioclip.darwin_core import Archive, TableLayout, open_archive
from bioclip.delimited.dialects import Dialect, guess_delimiter
from bioclip.delimited.headers import local_name
from bioclip.delimited.scanning import split_line
from bioclip.errors import BackboneError
from bioclip.taxonomy.backbones.archives import Pack
from bioclip.taxonomy.backbones.usages import Backbone, Vernacular, usage_table

_TRUE = {"true", "t", "yes", "1", "preferred"}
_VERNACULAR_TERMS = ("coreid", "vernacularName", "language", "source", "isPreferredName", "preferred")
_TERMS = (
    "id", "taxonID", "parentNameUsageID", "acceptedNameUsageID", "scientificName", "scientificNameAuthorship", "canonicalName",
    "taxonRank", "taxonomicStatus", "kingdom", "phylum", "class", "order", "family", "genus",
    "genericName", "specificEpithet", "infraspecificEpithet", "authority",
)  # fmt: skip
_FIELDS = {
    "parentNameUsageID": "parent_id", "acceptedNameUsageID": "accepted_id", "canonicalName": "canonical_name", "taxonRank": "rank",
    "taxonomicStatus": "status", "kingdom": "kingdom", "phylum": "phylum", "class": "class_", "order": "order", "family": "family",
    "genus": "genus",
}  # fmt: skip


class DwcaBackbone(Backbone):
    """A zip file, a folder or a headed table."""

    format: ClassVar[str] = "dwca"
    kingdom: ClassVar[str] = ""
    """Kingdom of rows that state none."""

    @classmethod
    def fits(cls, pack: Pack) -> bool:
        """A meta.xml, or a header with the terms of a taxon."""
        return bool(pack.find("meta.xml")) or (len(pack.names) == 1 and {"taxonid", "scientificname"} <= header_terms(pack))

    def tables(self) -> Iterator[pa.Table]:
        """Rows of the Taxon core."""
        with open_archive(self.path) as archive:
            core = archive.layout.core
            if core.kind != "Taxon":
                raise BackboneError(f"backbone {str(self.path)!r} has a core of {core.kind!r}; a Darwin Core backbone needs a Taxon core.")
            for table in archive.tables(core, _TERMS, self.pack.log):
                yield self.usages_of(table)

    def usages_of(self, table: pa.Table) -> pa.Table:
        """Rows of the Taxon core as usages."""
        columns = {field: table[term] for term, field in _FIELDS.items()}
        composed = _first_given(table["scientificName"], table["canonicalName"], _composed(table))
        columns["taxon_id"] = _first_given(table["taxonID"], table["id"])
        columns["scientific_name"] = composed
        columns["authorship"] = _first_given(table["scientificNameAuthorship"], table["authority"])
        if self.kingdom:
            columns["kingdom"] = _first_given(columns["kingdom"], pa.repeat(pa.scalar(self.kingdom), table.num_rows))
        return usage_table(table.num_rows, columns)

    def vernaculars(self) -> Iterator[Vernacular]:
        """Rows of the VernacularName extension; `taxon_id` is the usage's, even if the core is joined by another column."""
        with open_archive(self.path) as archive:
            tables = archive.layout.extensions_of("VernacularName")
            renamed = _renamed_ids(archive, archive.layout.core) if tables else {}
            for layout in tables:
                for table in archive.tables(layout, _VERNACULAR_TERMS, self.pack.log):
                    for core_id, name, language, source, *preferred in zip(*(column.to_pylist() for column in table.columns), strict=True):
                        if name := name.strip():
                            is_preferred = any(value.strip().lower() in _TRUE for value in preferred)
                            yield Vernacular(renamed.get(core_id, core_id), name, language.strip(), is_preferred, source.strip())


class WfoBackbone(DwcaBackbone):
    """World Flora Online's classification.csv (tab-separated despite its name) or Darwin Core Archive; it states no kingdom.

    Columns: https://www.worldfloraonline.org/downloadData (taxonID `wfo-0000000001`, localID, majorGroup, tplID).
    """

    format: ClassVar[str] = "wfo"
    kingdom: ClassVar[str] = "Plantae"

    @classmethod
    def fits(cls, pack: Pack) -> bool:
        """A classification file whose header has terms that only WFO uses."""
        name = pack.find("classification.csv", "classification.txt")
        return bool(name) and {"localid", "majorgroup"} & header_terms(pack, name) != set()


def header_terms(pack: Pack, name: str = "") -> set[str]:
    """Column names of a member (the only one when not named), in lower case."""
    line = pack.first_line(name or next(iter(pack.names), ""))
    return {local_name(term).lower() for term in split_line(line, Dialect(guess_delimiter(line)))}


def _renamed_ids(archive: Archive, core: TableLayout) -> dict[str, str]:
    """Core id -> taxonID, where they differ."""
    renamed: dict[str, str] = {}
    for table in archive.tables(core, ("id", "taxonID")):
        taxon_ids = _first_given(table["taxonID"], table["id"])
        different = pc.not_equal(table["id"], taxon_ids)
        renamed.update(zip(table["id"].filter(different).to_pylist(), taxon_ids.filter(different).to_pylist(), strict=True))
    return renamed


def _first_given(first: pa.ChunkedArray, *others: pa.ChunkedArray) -> pa.ChunkedArray:
    """The first non-empty column, row by row."""
    for other in others:
        first = pc.if_else(pc.equal(first, ""), other, first)
    return first


def _composed(table: pa.Table) -> pa.ChunkedArray:
    genus = _first_given(table["genericName"], table["genus"])
    joined = pc.binary_join_element_wise(genus, table["specificEpithet"], table["infraspecificEpithet"], " ")
    return pc.utf8_trim_whitespace(pc.replace_substring(joined, "  ", " "))
