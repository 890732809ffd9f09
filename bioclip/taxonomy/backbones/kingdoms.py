"""Names of kingdoms: clade-based sources (NCBI, EOL, Open Tree) name them differently or have domains instead."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

KINGDOM_NAMES = {"Metazoa": "Animalia", "Viridiplantae": "Plantae", "Chloroplastida": "Plantae"}
"""A kingdom's name in these sources -> its name in the others."""

DOMAIN_KINGDOMS = ("Archaea", "Bacteria", "Viruses")
"""Domains used as kingdoms, since labels have no higher rank; kingdoms below them then have no rank of a label."""

_DOMAIN_RANKS = ("domain", "superkingdom", "acellular root", "acellular_root")


def settle_kingdoms(usages: pa.Table) -> pa.Table:
    """Accepted usages with kingdoms named as in the other backbones."""
    name, canonical, rank = usages["scientific_name"], usages["canonical_name"], usages["rank"]
    is_domain = pc.and_(pc.is_in(name, pa.array(DOMAIN_KINGDOMS)), pc.is_in(rank, pa.array(_DOMAIN_RANKS)))
    is_kingdom = pc.equal(rank, "kingdom")
    below_domain = pc.is_in(usages["parent_id"], value_set=usages["taxon_id"].filter(is_domain))
    for old, new in KINGDOM_NAMES.items():
        is_old = pc.and_(is_kingdom, pc.or_(pc.equal(name, old), pc.equal(canonical, old)))
        name, canonical = pc.if_else(is_old, new, name), pc.if_else(is_old, new, canonical)
    rank = pc.if_else(pc.and_(is_kingdom, below_domain), "", pc.if_else(is_domain, "kingdom", rank))
    for column, values in (("scientific_name", name), ("canonical_name", canonical), ("rank", rank)):
        index = usages.schema.get_field_index(column)
        usages = usages.set_column(index, usages.schema.field(index), values)
    return usages
