"""Lineages: names at the seven ranks."""

from __future__ import annotations

from bioclip.records import RANKS

Lineage = tuple[str, ...]
"""Names at the seven RANKS, empty where there is none."""

EMPTY_LINEAGE: Lineage = ("",) * len(RANKS)
