"""Record ids, lineage ids and partitions of whole batches: equal to those of `bioclip.records` for single records."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc

from bioclip.records import RECORD_NAMESPACE, VERBATIM_NAME_COLUMNS, lineage_id
from bioclip.sources.parsing.columns import filled

_SEPARATOR = "\x1f"
_MAX_CACHED_LINEAGES = 200_000
_HEX_PAIRS = np.frombuffer("".join(f"{value:02x}" for value in range(256)).encode(), np.uint16)
_HEX_PLACES = [place for place in range(36) if place not in {8, 13, 18, 23}]


def record_digests(source: str, source_ids: Any, media_urls: Any) -> np.ndarray:
    """The 16 bytes of each record's UUIDv5 (RFC 9562): uint8 of shape (num_rows, 16)."""
    joined = pc.binary_join_element_wise(filled(source_ids), filled(media_urls), _SEPARATOR).cast(pa.binary())
    prefix = RECORD_NAMESPACE.bytes + f"{source}{_SEPARATOR}".encode()
    sha1 = hashlib.sha1
    digests = b"".join([sha1(prefix + value, usedforsecurity=False).digest() for value in joined.to_pylist()])
    values = np.frombuffer(digests, np.uint8).reshape(-1, 20)[:, :16].copy()
    values[:, 6] = values[:, 6] & 0x0F | 0x50
    values[:, 8] = values[:, 8] & 0x3F | 0x80
    return values


def digest_ids(digests: np.ndarray) -> pa.Array:
    """The 36-character form of UUIDs given as bytes."""
    characters = np.full((len(digests), 36), ord("-"), np.uint8)
    characters[:, _HEX_PLACES] = _HEX_PAIRS[digests].view(np.uint8)
    offsets = np.arange(len(digests) + 1, dtype=np.int32) * 36
    return pa.Array.from_buffers(pa.string(), len(digests), [None, pa.py_buffer(offsets), pa.py_buffer(characters)])


def digest_partitions(digests: np.ndarray, num_partitions: int) -> np.ndarray:
    """The partition of each id, as `records.partition_of`."""
    first = digests[:, :4].copy().view(">u4")[:, 0].astype(np.uint64)
    return (first * np.uint64(num_partitions) >> np.uint64(32)).astype(np.int32)


class LineageIds:
    """Lineage ids, computed once for each distinct set of verbatim names."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], str] = {}

    def of(self, table: pa.Table) -> pa.Array:
        """The lineage id of each row of a table with VERBATIM_NAME_COLUMNS."""
        columns = [filled(table[name]).combine_chunks() for name in VERBATIM_NAME_COLUMNS]
        joined = pc.binary_join_element_wise(*columns, _SEPARATOR)
        encoded = joined.dictionary_encode()
        distinct = encoded.dictionary.to_pylist()
        if any(value.count(_SEPARATOR) != len(columns) - 1 for value in distinct):
            return pa.array([self._one(row) for row in zip(*(column.to_pylist() for column in columns), strict=True)], pa.string())
        return pa.array([self._one(tuple(value.split(_SEPARATOR))) for value in distinct], pa.string()).take(encoded.indices)

    def _one(self, names: tuple[str, ...]) -> str:
        if names not in self._known:
            if len(self._known) >= _MAX_CACHED_LINEAGES:
                self._known.clear()
            self._known[names] = lineage_id(dict(zip(VERBATIM_NAME_COLUMNS, names, strict=True)))
        return self._known[names]
