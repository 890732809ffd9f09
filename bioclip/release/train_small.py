"""A small part of training for trials: a list of record ids beside the shards, not a second copy of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from bioclip.release.splits import TRAIN, unit_hash
from bioclip.settings import ReleaseSettings

TRAIN_SMALL_NAME = "splits/train_small.parquet"
TRAIN_SMALL_SCHEMA = pa.schema([pa.field("record_id", pa.string(), nullable=False), pa.field("shard", pa.string(), nullable=False)])
"""splits/train_small.parquet, sorted by record_id: the training samples of the part, and where they lie."""


def train_small(rows: Sequence[Mapping[str, Any]], settings: ReleaseSettings) -> pa.Table:
    """TRAIN_SMALL_SCHEMA of the share `train_small_fraction` of the training samples, each chosen by its own hashed id."""
    chosen = [
        {"record_id": row["record_id"], "shard": row["shard"]}
        for row in rows
        if row["split"] == TRAIN and unit_hash(f"train_small:{settings.seed}", row["record_id"]) < settings.train_small_fraction
    ]
    return pa.Table.from_pylist(chosen, schema=TRAIN_SMALL_SCHEMA)
