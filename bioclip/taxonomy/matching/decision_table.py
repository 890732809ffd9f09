"""Decisions as columns: what matching gives for many lineages, one row each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from operator import attrgetter

import pyarrow as pa

from bioclip.records import RANKS
from bioclip.schemas import DECISION_SCHEMA
from bioclip.taxonomy.matching.decisions import MatchType, Resolution, VerbatimLineage
from bioclip.taxonomy.names.ranks import EMPTY_LINEAGE

LINEAGE_COLUMNS = tuple(field.name for field in fields(VerbatimLineage))
"""Columns of a table of verbatim lineages, strings without nulls."""


def lineage_columns(lineages: Sequence[VerbatimLineage]) -> pa.Table:
    """LINEAGE_COLUMNS of verbatim lineages."""
    return pa.table({name: pa.array([getattr(one, name) for one in lineages], pa.string()) for name in LINEAGE_COLUMNS})


def verbatim_lineages(table: pa.Table) -> list[VerbatimLineage]:
    """The rows of LINEAGE_COLUMNS."""
    columns = [table[name].to_pylist() for name in LINEAGE_COLUMNS]
    return [VerbatimLineage(*values) for values in zip(*columns, strict=True)]


def decision_columns(resolutions: Sequence[Resolution]) -> pa.Table:
    """DECISION_SCHEMA of resolutions."""
    columns = {}
    for field in DECISION_SCHEMA:
        if field.name in RANKS:
            place = RANKS.index(field.name)
            values = [one.lineage[place] for one in resolutions]
        elif field.name == "match_type":
            values = [one.match_type.value for one in resolutions]
        else:
            values = list(map(attrgetter(field.name), resolutions))
        columns[field.name] = pa.array(values, field.type)
    return pa.table(columns, schema=DECISION_SCHEMA)


def resolutions_of(table: pa.Table) -> list[Resolution]:
    """The rows of DECISION_SCHEMA."""
    found = []
    for row in table.to_pylist():
        lineage = tuple(row.pop(rank) for rank in RANKS)
        found.append(Resolution(**{**row, "match_type": MatchType(row["match_type"])}, lineage=lineage if any(lineage) else EMPTY_LINEAGE))
    return found
