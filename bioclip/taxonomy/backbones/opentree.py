"""Open Tree of Life's taxonomy (OTT): taxonomy.tsv and synonyms.tsv, columns between `\\t|\\t`, headers in their first lines.

Format and flags: https://github.com/OpenTreeOfLife/reference-taxonomy/wiki. Rows flagged as not a taxon (containers, environmental
samples) are excluded; rows hidden from the tree are kept as doubtful.
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
from bioclip.taxonomy.backbones.usages import Backbone, usage_table

_EXCLUDED = r"(^|,)(not_otu|environmental|environmental_inherited|was_container|merged|hybrid)(,|$)"
_DOUBTFUL = r"(^|,)(hidden|hidden_inherited|major_rank_conflict|major_rank_conflict_inherited|inconsistent|barren|viral)(,|$)"
_BAR = "|"


class OpenTreeBackbone(Backbone):
    """The tar.gz or the folder."""

    format: ClassVar[str] = "opentree"

    @classmethod
    def fits(cls, pack: Pack) -> bool:
        """taxonomy.tsv with uids between bars."""
        return pack.first_line("taxonomy.tsv").startswith("uid\t|\t")

    def tables(self) -> Iterator[pa.Table]:
        """Taxa, then synonyms under `<uid>:<running number>`."""
        yield settle_kingdoms(pa.concat_tables([_taxa(table) for table in self._read("taxonomy.tsv", ("uid", "parent_uid", "name"))]))
        first = 1
        for table in self._read("synonyms.tsv", ("uid", "name")) if self.pack.find("synonyms.tsv") else ():
            number = pa.array(np.arange(first, first + table.num_rows)).cast(pa.string())
            own = pc.binary_join_element_wise(table["uid"], pa.chunked_array([number]), ":")
            first += table.num_rows
            columns = {"taxon_id": own, "accepted_id": table["uid"], "scientific_name": table["name"], "status": "synonym"}
            yield usage_table(table.num_rows, columns)

    def _read(self, name: str, required: tuple[str, ...]) -> Iterator[pa.Table]:
        header = [column.strip() for column in self.pack.first_line(name).split(_BAR)]
        if missing := [column for column in required if column not in header]:
            raise BackboneError(f"{name} of {str(self.path)!r} line 1: no column {missing[0]!r}; OTT's header is required.")
        line = 1
        for table in self.pack.tables(name, [*required, "rank", "flags"], delimiter=_BAR):
            columns = {column: pc.utf8_trim_whitespace(table[column]) for column in table.column_names}
            if pc.any(pc.equal(columns["uid"], "")).as_py():
                raise BackboneError(f"{name} of {str(self.path)!r} after line {line}: a row without uid; get the taxonomy again.")
            line += table.num_rows
            yield pa.table(columns)


def _taxa(table: pa.Table) -> pa.Table:
    status = pc.if_else(pc.match_substring_regex(table["flags"], _DOUBTFUL), "doubtful", "accepted")
    columns = {
        "taxon_id": table["uid"],
        "parent_id": table["parent_uid"],
        "scientific_name": table["name"],
        "rank": pc.if_else(pc.equal(table["rank"], "no rank - terminal"), "", table["rank"]),
        "status": pc.if_else(pc.match_substring_regex(table["flags"], _EXCLUDED), "excluded", status),
    }
    return usage_table(table.num_rows, columns)
