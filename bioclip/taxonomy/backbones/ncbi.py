"""The NCBI taxdump: nodes.dmp, names.dmp, merged.dmp and delnodes.dmp in a zip file, a tar.gz file or a folder.

Kingdoms get the names that the other backbones use, and the domains Bacteria, Archaea and Viruses are used as kingdoms, since
labels have no rank above; GTDB's taxdump has the same layout. Before 2025 a domain was a `superkingdom`; both are read.
Format: https://ftp.ncbi.nih.gov/pub/taxonomy/new_taxdump/taxdump_readme.txt
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bioclip.errors import BackboneError
from bioclip.taxonomy.backbones.archives import Pack
from bioclip.taxonomy.backbones.kingdoms import settle_kingdoms
from bioclip.taxonomy.backbones.usages import Backbone, Vernacular, usage_table

_SYNONYM_CLASSES = ("synonym", "equivalent name")
_COMMON_CLASSES = {"genbank common name": True, "common name": False}
_BLOCK_BYTES = 32 << 20


class NcbiBackbone(Backbone):
    """A taxdump."""

    format: ClassVar[str] = "ncbi"

    @classmethod
    def fits(cls, pack: Pack) -> bool:
        """nodes.dmp and names.dmp."""
        return {"nodes.dmp", "names.dmp"} <= set(pack.names)

    def tables(self) -> Iterator[pa.Table]:
        """Scientific names as accepted usages under their taxid, synonyms under `<taxid>:<running number>`, merged taxids as
        synonyms of their successors, under their own taxid; taxids in delnodes.dmp have no name and are omitted."""
        nodes = pa.concat_tables(self._dump("nodes.dmp", 3))
        names = pa.concat_tables(self._dump("names.dmp", 4))
        if not nodes.num_rows or not names.num_rows:
            raise BackboneError(f"taxdump {str(self.path)!r} is empty; it needs nodes.dmp and names.dmp with rows.")
        merged = pa.concat_tables(self._dump("merged.dmp", 2)) if self.pack.find("merged.dmp") else nodes.slice(0, 0)
        accepted = self._accepted(nodes, names.filter(pc.equal(names["f3"], "scientific name")), merged)
        yield accepted
        yield _synonyms(names.filter(pc.is_in(names["f3"], pa.array(_SYNONYM_CLASSES))), accepted)
        yield _merged(merged, accepted)

    def vernaculars(self) -> Iterator[Vernacular]:
        """English names; GenBank's own choice is preferred."""
        for table in self._dump("names.dmp", 4):
            common = table.filter(pc.is_in(table["f3"], pa.array(list(_COMMON_CLASSES))))
            for tax_id, name, kind in zip(*(common[column].to_pylist() for column in ("f0", "f1", "f3")), strict=True):
                yield Vernacular(tax_id, name, "en", _COMMON_CLASSES[kind], "ncbi")

    def _accepted(self, nodes: pa.Table, names: pa.Table, merged: pa.Table) -> pa.Table:
        row = pc.index_in(names["f0"], value_set=nodes["f0"])
        if row.null_count:
            tax_id = names["f0"].filter(pc.is_null(row))[0].as_py()
            raise BackboneError(f"names.dmp of {str(self.path)!r} names taxid {tax_id}, which nodes.dmp lacks; get the taxdump again.")
        parent, rank = nodes["f1"].take(row), nodes["f2"].take(row)
        became = pc.index_in(parent, value_set=merged["f0"])
        parent = pc.coalesce(merged["f1"].take(became), parent)
        parent = pc.if_else(pc.equal(parent, names["f0"]), "", parent)
        columns = {"taxon_id": names["f0"], "parent_id": parent, "scientific_name": names["f1"], "rank": rank, "status": "accepted"}
        return settle_kingdoms(usage_table(names.num_rows, columns))

    def _dump(self, name: str, width: int) -> Iterator[pa.Table]:
        """The first `width` columns of a dump as strings f0, f1 …"""
        line = 0
        with self.pack.open(name) as stream:
            rest = b""
            while chunk := stream.read(_BLOCK_BYTES):
                block, _, rest = (rest + chunk).rpartition(b"\n")
                if block:
                    yield self._columns(name, block + b"\n", width, line)
                    line += block.count(b"\n") + 1
            if rest.strip():
                yield self._columns(name, rest + b"\n", width, line)
        if not line:
            yield pa.table({f"f{index}": pa.array([], pa.string()) for index in range(width)})

    def _columns(self, name: str, block: bytes, width: int, line: int) -> pa.Table:
        text = pa.array(block.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")[:-1], pa.string())
        parts = pc.split_pattern(pc.replace_substring_regex(text, r"\t?\|$", ""), "\t|\t")
        lengths = pc.list_value_length(parts).to_numpy()
        is_filled = pc.invert(pc.match_substring_regex(text, r"^(#|\t?\|?$)")).to_numpy(zero_copy_only=False)
        if len(short := np.flatnonzero((lengths < width) & is_filled)):
            raise BackboneError(
                f"{name} of {str(self.path)!r} line {line + int(short[0]) + 1}: {lengths[short[0]]} columns; at least {width} are required."
            )
        parts = parts.filter(pa.array(is_filled))
        return pa.table({f"f{index}": pc.list_element(parts, index) for index in range(width)})


def _synonyms(names: pa.Table, accepted: pa.Table) -> pa.Table:
    row = pc.index_in(names["f0"], value_set=accepted["taxon_id"])
    number = pa.array(np.arange(1, names.num_rows + 1)).cast(pa.string())
    columns = {
        "taxon_id": pc.binary_join_element_wise(names["f0"], pa.chunked_array([number]), ":"),
        "accepted_id": names["f0"],
        "scientific_name": names["f1"],
        "rank": pc.coalesce(accepted["rank"].take(row), ""),
        "status": "synonym",
    }
    return usage_table(names.num_rows, columns)


def _merged(merged: pa.Table, accepted: pa.Table) -> pa.Table:
    """Old taxids as synonyms of their successors, so ids from older dumps still resolve."""
    row = pc.index_in(merged["f1"], value_set=accepted["taxon_id"])
    known = merged.filter(pc.is_valid(row))
    target = accepted.take(row.drop_null())
    columns = {
        "taxon_id": known["f0"],
        "accepted_id": known["f1"],
        "scientific_name": target["scientific_name"],
        "rank": target["rank"],
        "status": "synonym",
    }
    return usage_table(known.num_rows, columns)
