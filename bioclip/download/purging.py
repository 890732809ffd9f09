"""Withdrawal of downloaded images by the hash of their bytes or pixels: they are found in a partition's files and recorded as refused."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip.records import TAKEN_DOWN
from bioclip.storage import Storage

_HASHES = ("sha256", "original_sha256", "pixel_sha256")
_COLUMNS = ["record_id", *_HASHES]


def listed_images(storage: Storage, name: str, taken_down: Collection[str]) -> dict[str, str]:
    """Record id -> the listed hash of each image in a file of images or a chunk; empty without a file or a list."""
    if not taken_down or not storage.exists(name):
        return {}
    with storage.reader(name) as stream:
        return listed_rows(pq.read_table(stream, columns=_COLUMNS), taken_down)


def listed_rows(images: pa.Table, taken_down: Collection[str]) -> dict[str, str]:
    """The same for rows in memory; if several hashes of an image are listed, the least."""
    hashes = pa.array(sorted(taken_down), pa.string())
    is_listed = pa.chunked_array([pa.array([False] * images.num_rows)])
    for name in _HASHES:
        is_listed = pc.or_(is_listed, pc.fill_null(pc.is_in(images[name], value_set=hashes), False))
    rows = images.select(_COLUMNS).filter(is_listed).to_pylist()
    return {row["record_id"]: min(set(row.values()) & set(taken_down)) for row in rows}


def takedown_is_pending(storage: Storage, images: str, outcomes: str, taken_down: Collection[str]) -> bool:
    """True if a partition holds the bytes of a listed image, or refused one for a hash that is no longer listed."""
    if storage.exists(outcomes):
        with storage.reader(outcomes) as stream:
            refused = pq.read_table(stream, columns=["detail"], filters=[("reason", "=", TAKEN_DOWN)])["detail"].to_pylist()
        if set(refused) - set(taken_down):
            return True
    return bool(listed_images(storage, images, taken_down))
