"""iNaturalist's taxa: the open data's taxa.csv.gz (tab-separated, unquoted, with ancestry) or its Darwin Core Archive (taxa.csv with
VernacularNames-<language>.csv).

Columns: https://github.com/inaturalist/inaturalist-open-data. Neither states the successor of an inactive taxon, so those are kept as
doubtful.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from bioclip.taxonomy.backbones.archives import Pack
from bioclip.taxonomy.backbones.dwca import header_terms
from bioclip.taxonomy.backbones.usages import Backbone, Vernacular, usage_table

_ADDRESS = r"^.*/"
_OPEN_DATA = ("taxon_id", "ancestry", "rank", "name", "active")
_DARWIN_CORE = ("id", "parentNameUsageID", "scientificName", "taxonRank", "kingdom", "phylum", "class", "order", "family", "genus")
_FIELDS = ("taxon_id", "parent_id", "scientific_name", "rank", "kingdom", "phylum", "class_", "order", "family", "genus")


class INaturalistBackbone(Backbone):
    """Either download."""

    format: ClassVar[str] = "inaturalist"

    @classmethod
    def fits(cls, pack: Pack) -> bool:
        """A table of taxa with ancestry, or iNaturalist's own file names."""
        if _is_open_data(pack):
            return True
        return bool(pack.find("taxa.csv")) and ("identifier" in header_terms(pack, "taxa.csv") or bool(_vernacular_files(pack)))

    def tables(self) -> Iterator[pa.Table]:
        """All taxa."""
        if _is_open_data(self.pack):
            name = pack_table(self.pack)
            for table in self.pack.tables(name, _OPEN_DATA):
                yield _open_data_usages(table)
        else:
            for table in self.pack.tables("taxa.csv", _DARWIN_CORE, delimiter=",", quote='"'):
                columns = dict(zip(_FIELDS, table.columns, strict=True))
                columns["taxon_id"] = pc.replace_substring_regex(columns["taxon_id"], _ADDRESS, "")
                columns["parent_id"] = pc.replace_substring_regex(columns["parent_id"], _ADDRESS, "")
                yield usage_table(table.num_rows, {**columns, "status": "accepted"})

    def vernaculars(self) -> Iterator[Vernacular]:
        """Names of all languages of the archive; the open data has none."""
        for name in _vernacular_files(self.pack):
            for table in self.pack.tables(name, ("id", "vernacularName", "language"), delimiter=",", quote='"'):
                for taxon_id, vernacular, language in zip(*(column.to_pylist() for column in table.columns), strict=True):
                    if vernacular.strip():
                        yield Vernacular(taxon_id.rsplit("/", 1)[-1], vernacular.strip(), language.strip(), False, "inaturalist")


def pack_table(pack: Pack) -> str:
    """The table of taxa, or an empty string."""
    return pack.find("taxa.csv", "taxa.tsv") or (next(iter(pack.names), "") if len(pack.names) == 1 else "")


def _is_open_data(pack: Pack) -> bool:
    name = pack_table(pack)
    return bool(name) and {"ancestry", "rank_level"} <= header_terms(pack, name)


def _vernacular_files(pack: Pack) -> list[str]:
    return sorted(name for name in pack.names if name.startswith("vernacularnames") and name.endswith(".csv"))


def _open_data_usages(table: pa.Table) -> pa.Table:
    active = pc.is_in(pc.utf8_lower(table["active"]), pa.array(["true", "t", "1"]))
    columns = {
        "taxon_id": table["taxon_id"],
        "parent_id": pc.replace_substring_regex(table["ancestry"], r"^.*[/\\]", ""),
        "scientific_name": table["name"],
        "rank": table["rank"],
        "status": pc.if_else(active, "accepted", "inactive"),
    }
    return usage_table(table.num_rows, columns)
