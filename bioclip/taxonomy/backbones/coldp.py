"""Catalogue of Life Data Packages: NameUsage, or Name with Taxon and Synonym, and VernacularName.

Specification: https://github.com/CatalogueOfLife/coldp. Files are .tsv or .csv, in any case, with or without hyphens in their names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from bioclip.delimited.dialects import Dialect
from bioclip.delimited.headers import local_name
from bioclip.delimited.scanning import split_line
from bioclip.errors import BackboneError
from bioclip.taxonomy.backbones.archives import Pack
from bioclip.taxonomy.backbones.usages import Backbone, Vernacular, usage_table

_RANKS = ("kingdom", "phylum", "class", "order", "family", "genus")
_NAME = ("scientificName", "authorship", "rank", "uninomial", "genus", "genericName", "specificEpithet", "infraspecificEpithet")
_USAGE = ("ID", "parentID", "status", *dict.fromkeys((*_NAME, *_RANKS)))
_SYNONYM = ("synonym", "ambiguous synonym", "misapplied")


class ColdpBackbone(Backbone):
    """A zip file or a folder."""

    format: ClassVar[str] = "coldp"

    @classmethod
    def fits(cls, pack: Pack) -> bool:
        """NameUsage, or Name and Taxon."""
        return bool(_member(pack, "nameusage") or (_member(pack, "name") and _member(pack, "taxon")))

    def tables(self) -> Iterator[pa.Table]:
        """Usages; of a package in parts, taxa first, then synonyms under `<taxonID>:<nameID>`."""
        if name := _member(self.pack, "nameusage"):
            for table in self._read(name, _USAGE):
                yield _usages(table)
        elif _member(self.pack, "name") and _member(self.pack, "taxon"):
            yield from self._joined()
        else:
            raise BackboneError(f"ColDP package {str(self.path)!r} has neither NameUsage nor Name with Taxon; download it again.")

    def vernaculars(self) -> Iterator[Vernacular]:
        """Rows of VernacularName."""
        if name := _member(self.pack, "vernacularname"):
            for table in self._read(name, ("taxonID", "name", "language", "preferred", "sourceID")):
                for taxon_id, vernacular, language, preferred, source in zip(*(c.to_pylist() for c in table.columns), strict=True):
                    if vernacular.strip():
                        yield Vernacular(
                            taxon_id, vernacular.strip(), language.strip(), preferred.lower() in {"true", "1", "yes", "t"}, source
                        )

    def _joined(self) -> Iterator[pa.Table]:
        names = pa.concat_tables(self._read(_member(self.pack, "name"), ("ID", *_NAME)))
        taxa = pa.concat_tables(self._read(_member(self.pack, "taxon"), ("ID", "nameID", "parentID", "status", "provisional", *_RANKS)))
        provisional = pc.is_in(pc.utf8_lower(taxa["provisional"]), pa.array(["true", "1", "yes", "t"]))
        status = pc.if_else(provisional, "provisionally accepted", pc.if_else(pc.equal(taxa["status"], ""), "accepted", taxa["status"]))
        yield _usages(_with_name(taxa.set_column(3, "status", status), names))
        if name := _member(self.pack, "synonym"):
            synonyms = pa.concat_tables(self._read(name, ("ID", "nameID", "taxonID", "status")))
            own = pc.binary_join_element_wise(synonyms["taxonID"], synonyms["nameID"], ":")
            status = pc.if_else(pc.is_in(pc.utf8_lower(synonyms["status"]), pa.array(_SYNONYM)), synonyms["status"], "synonym")
            columns = {"ID": own, "nameID": synonyms["nameID"], "parentID": synonyms["taxonID"], "status": status}
            yield _usages(_with_name(pa.table(columns), names))

    def _read(self, name: str, terms: Sequence[str]) -> Iterator[pa.Table]:
        """Columns of a member; raises BackboneError when its header lacks an id or a name."""
        delimiter, quote = ("\t", "") if "\t" in self.pack.first_line(name) else (",", '"')
        header = {local_name(column).lower() for column in split_line(self.pack.first_line(name), Dialect(delimiter, quote))}
        for needed in ("ID", "scientificName", "taxonID", "name", "nameID"):
            is_of_synonym = needed == "ID" and "taxonID" in terms
            if (
                needed in terms
                and needed.lower() not in header
                and not is_of_synonym
                and not (needed == "scientificName" and header & {"uninomial", "genericname", "genus"})
            ):
                raise BackboneError(f"{name} of {str(self.path)!r} line 1: no column {needed!r}; ColDP requires it.")
        yield from self.pack.tables(name, terms, delimiter=delimiter, quote=quote)


def _member(pack: Pack, kind: str) -> str:
    found = (name for name in pack.names if name.rpartition(".")[2] in {"tsv", "csv", "txt", "tab"})
    return min((name for name in found if name.rpartition(".")[0].replace("-", "").replace("_", "") in {kind, f"{kind}s"}), default="")


def _with_name(rows: pa.Table, names: pa.Table) -> pa.Table:
    row = pc.index_in(rows["nameID"], value_set=names["ID"])
    for column in _NAME:
        if column not in rows.column_names:
            rows = rows.append_column(column, pc.coalesce(names[column].take(row), ""))
    return rows


def _usages(table: pa.Table) -> pa.Table:
    status = pc.utf8_lower(table["status"])
    is_synonym = pc.is_in(status, pa.array(_SYNONYM))
    names = set(table.column_names)
    genus = table["genericName"] if "genericName" in names else pa.repeat(pa.scalar(""), table.num_rows)
    if "genus" in names:
        genus = pc.if_else(pc.equal(genus, ""), table["genus"], genus)
    parts = pc.binary_join_element_wise(genus, table["specificEpithet"], table["infraspecificEpithet"], " ")
    composed = pc.if_else(
        pc.equal(table["uninomial"], ""), pc.utf8_trim_whitespace(pc.replace_substring(parts, "  ", " ")), table["uninomial"]
    )
    columns = {rank.replace("class", "class_"): table[rank] for rank in _RANKS if rank in names}
    columns |= {
        "taxon_id": table["ID"],
        "parent_id": pc.if_else(is_synonym, "", table["parentID"]),
        "accepted_id": pc.if_else(is_synonym, table["parentID"], ""),
        "scientific_name": pc.if_else(pc.equal(table["scientificName"], ""), composed, table["scientificName"]),
        "authorship": table["authorship"],
        "rank": table["rank"],
        "status": pc.if_else(pc.equal(status, "bare name"), "excluded", table["status"]),
    }
    return usage_table(table.num_rows, columns)
