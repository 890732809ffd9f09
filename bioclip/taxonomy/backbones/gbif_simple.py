"""The GBIF backbone's simple dump: simple.txt.gz, 30 tab-separated columns without header, `\\N` for missing values.

Columns: the README of the file at https://hosted-datasets.gbif.org/datasets/backbone/. A synonym's parent is its accepted usage;
the keys of higher ranks repeat the path of parents, so they are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from bioclip.errors import BackboneError
from bioclip.taxonomy.backbones.archives import Pack
from bioclip.taxonomy.backbones.usages import Backbone, usage_table

COLUMNS = (
    "id", "parent_key", "basionym_key", "is_synonym", "status", "rank", "nom_status", "constituent_key", "origin", "source_taxon_key",
    "kingdom_key", "phylum_key", "class_key", "order_key", "family_key", "genus_key", "species_key", "name_id", "scientific_name",
    "canonical_name", "genus_or_above", "specific_epithet", "infra_specific_epithet", "notho_type", "authorship", "year",
    "bracket_authorship", "bracket_year", "name_published_in", "issues",
)  # fmt: skip
_READ = ("id", "parent_key", "is_synonym", "status", "rank", "scientific_name", "canonical_name")


class GbifSimpleBackbone(Backbone):
    """One file, gzipped or not."""

    format: ClassVar[str] = "gbif_simple"

    @classmethod
    def fits(cls, pack: Pack) -> bool:
        """One table of 30 columns whose fourth is `t` or `f`."""
        if len(pack.names) != 1:
            return False
        values = pack.first_line(next(iter(pack.names))).split("\t")
        return len(values) == len(COLUMNS) and values[3] in {"t", "f"}

    def tables(self) -> Iterator[pa.Table]:
        """All rows; raises BackboneError where the fourth column is neither `t` nor `f`."""
        name, num_rows = next(iter(self.pack.names)), 0
        for raw in self.pack.tables(name, _READ, header=COLUMNS):
            columns = {column: pc.if_else(pc.equal(raw[column], "\\N"), "", raw[column]) for column in _READ}
            odd = pc.invert(pc.is_in(columns["is_synonym"], pa.array(["t", "f"])))
            if pc.any(odd).as_py():
                line = num_rows + pc.index(odd, True).as_py() + 1
                raise BackboneError(
                    f"{name} of {str(self.path)!r} line {line}: column 4 (is_synonym) must be t or f; is it the simple dump?"
                )
            num_rows += raw.num_rows
            yield _usages(columns, raw.num_rows)


def _usages(columns: dict[str, pa.ChunkedArray], num_rows: int) -> pa.Table:
    is_synonym = pc.equal(columns["is_synonym"], "t")
    return usage_table(
        num_rows,
        {
            "taxon_id": columns["id"],
            "parent_id": pc.if_else(is_synonym, "", columns["parent_key"]),
            "accepted_id": pc.if_else(is_synonym, columns["parent_key"], ""),
            "scientific_name": columns["scientific_name"],
            "authorship": _authorship(columns["scientific_name"], columns["canonical_name"]),
            "canonical_name": columns["canonical_name"],
            "rank": columns["rank"],
            "status": columns["status"],
        },
    )


def _authorship(name: pa.ChunkedArray, canonical: pa.ChunkedArray) -> pa.ChunkedArray:
    """The part of the full name after the canonical one, since the dump's author columns lack years and combining authors."""
    rest = pa.array(
        [
            full[len(short) :].strip() if short and full.startswith(short) else ""
            for full, short in zip(name.to_pylist(), canonical.to_pylist(), strict=True)
        ],
        pa.string(),
    )
    return pa.chunked_array([rest])
