"""Downloaded images that are withdrawn by a hash of their bytes or pixels."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip.storage import Storage
from bioclip.withdrawals.lists import WITHDRAWN

_HASHES = ("sha256", "original_sha256", "pixel_sha256")
_COLUMNS = ["record_id", *_HASHES]


def listed_images(storage: Storage, name: str, withdrawn: Collection[str]) -> dict[str, str]:
    """Record id -> listed hash of each withdrawn image in a file of images or a chunk; empty without a file or a list."""
    if not withdrawn or not storage.exists(name):
        return {}
    with storage.reader(name) as stream:
        return listed_rows(pq.read_table(stream, columns=_COLUMNS), withdrawn)


def listed_rows(images: pa.Table, withdrawn: Collection[str]) -> dict[str, str]:
    """`listed_images` of rows in memory; of several listed hashes of one image, the least."""
    hashes = pa.array(sorted(withdrawn), pa.string())
    is_listed = pa.chunked_array([pa.array([False] * images.num_rows)])
    for name in _HASHES:
        is_listed = pc.or_(is_listed, pc.fill_null(pc.is_in(images[name], value_set=hashes), False))
    rows = images.select(_COLUMNS).filter(is_listed).to_pylist()
    return {row["record_id"]: min(set(row.values()) & set(withdrawn)) for row in rows}


def withdrawal_is_pending(storage: Storage, images: str, outcomes: str, withdrawn: Collection[str]) -> bool:
    """True when a partition holds a withdrawn image, or refused an image for a hash that is listed no longer."""
    if storage.exists(outcomes):
        with storage.reader(outcomes) as stream:
            refused = pq.read_table(stream, columns=["detail"], filters=[("reason", "=", WITHDRAWN)])["detail"].to_pylist()
        if set(refused) - set(withdrawn):
            return True
    return bool(listed_images(storage, images, withdrawn))
