"""A small part of training for experiments: a list of record ids, not a second copy of the shards."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from bioclip.schemas import TRAIN_SMALL_SCHEMA
from bioclip.selection.candidates import Candidates
from bioclip.selection.splits import TRAIN, unit_hashes
from bioclip.settings import ReleaseSettings


def train_small(candidates: Candidates, shards: pa.Array, settings: ReleaseSettings) -> pa.Table:
    """TRAIN_SMALL_SCHEMA of the share `train_small_fraction` of the training samples, each chosen by its own hashed id; `shards` [N] names
    the shard of every candidate."""
    rows = np.flatnonzero(candidates.is_in(TRAIN))
    hashes = unit_hashes(f"train_small:{settings.seed}", candidates.column("record_id").take(pa.array(rows)))
    chosen = pa.array(rows[hashes < settings.train_small_fraction])
    return pa.table([candidates.column("record_id").take(chosen), shards.take(chosen)], schema=TRAIN_SMALL_SCHEMA)
