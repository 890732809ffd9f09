"""Backbones as Darwin Core Archives: a Taxon core, perhaps a VernacularName extension (GBIF, Catalogue of Life, WFO, …)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bioclip.darwin_core import open_archive
from bioclip.errors import BackboneError
from bioclip.taxonomy.backbones.usages import Usage, Vernacular

_TRUE = {"true", "t", "yes", "1", "preferred"}
_NAME_PARTS = ("specificEpithet", "infraspecificEpithet")


@dataclass(frozen=True)
class DwcaBackbone:
    """A zip file or folder."""

    path: Path

    def usages(self) -> Iterator[Usage]:
        """Rows of the Taxon core."""
        with open_archive(self.path) as archive:
            core = archive.layout.core
            if core.kind != "Taxon":
                raise BackboneError(f"backbone {str(self.path)!r} has a core of {core.kind!r}; a Darwin Core backbone needs a Taxon core.")
            for row in archive.rows(core):
                yield _usage(row)

    def vernaculars(self) -> Iterator[Vernacular]:
        """Rows of the VernacularName extension; `taxon_id` is the usage's, whatever column the core is joined by."""
        with open_archive(self.path) as archive:
            tables = archive.layout.extensions_of("VernacularName")
            renamed = _renamed_ids(archive.rows(archive.layout.core)) if tables else {}
            for table in tables:
                for row in archive.rows(table):
                    if name := row.get("vernacularName", "").strip():
                        is_preferred = row.get("isPreferredName", row.get("preferred", "")).strip().lower() in _TRUE
                        taxon_id = renamed.get(row["coreid"], row["coreid"])
                        yield Vernacular(taxon_id, name, row.get("language", "").strip(), is_preferred, row.get("source", "").strip())


def _renamed_ids(rows: Iterator[dict[str, str]]) -> dict[str, str]:
    """Core id -> taxonID where they differ."""
    pairs = ((row.get("id", ""), _taxon_id(row)) for row in rows)
    return {core_id: taxon_id for core_id, taxon_id in pairs if core_id != taxon_id}


def _taxon_id(row: dict[str, str]) -> str:
    return row.get("taxonID", "") or row.get("id", "")


def _usage(row: dict[str, str]) -> Usage:
    get, intern = row.get, sys.intern
    return Usage(
        taxon_id=_taxon_id(row),
        parent_id=get("parentNameUsageID", ""),
        accepted_id=get("acceptedNameUsageID", ""),
        scientific_name=get("scientificName", "") or get("canonicalName", "") or _composed(row),
        authorship=get("scientificNameAuthorship", ""),
        canonical_name=get("canonicalName", ""),
        rank=intern(get("taxonRank", "")),
        status=intern(get("taxonomicStatus", "")),
        kingdom=intern(get("kingdom", "")),
        phylum=intern(get("phylum", "")),
        class_=intern(get("class", "")),
        order=intern(get("order", "")),
        family=intern(get("family", "")),
        genus=intern(get("genus", "")),
    )


def _composed(row: dict[str, str]) -> str:
    genus = row.get("genericName", "") or row.get("genus", "")
    return " ".join(part for part in (genus, *(row.get(part, "") for part in _NAME_PARTS)) if part)
