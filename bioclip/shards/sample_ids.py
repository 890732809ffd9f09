"""Ids of samples in 16 bytes: the UUID that a record id is, or for another key the first 128 bits of its BLAKE2b hash.

N  samples
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from numpy.typing import NDArray

ID = np.dtype([("high", "<u8"), ("low", "<u8")])
"""An id as two numbers; ids in ascending order of (high, low) are in the alphabetical order of their UUIDs."""
_UUID_LENGTH = 36
_DASHES = (8, 13, 18, 23)
_DIGITS = tuple(place for place in range(_UUID_LENGTH) if place not in _DASHES)
_INVALID = 255
_VALUE_OF = np.full(256, _INVALID, dtype=np.uint8)
_VALUE_OF[np.frombuffer(b"0123456789abcdef", dtype=np.uint8)] = np.arange(16)


def ids_of(keys: Sequence[str] | pa.Array | pa.ChunkedArray) -> NDArray[np.void]:
    """ID [N] of the keys of samples."""
    array = pa.array(keys, pa.string()) if isinstance(keys, Sequence) else keys
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if (found := _uuids(array)) is not None:
        return found
    joined = b"".join(_bytes_of(key) for key in array.to_pylist())
    return np.ascontiguousarray(np.frombuffer(joined, dtype=">u8").astype("<u8")).view(ID)


def id_of(key: str) -> tuple[int, int]:
    """(high, low) of the key of a sample."""
    data = _bytes_of(key)
    return int.from_bytes(data[:8], "big"), int.from_bytes(data[8:], "big")


def name_of(high: int, low: int) -> str:
    """The UUID of an id; for a sample whose key is none, the hash of its key in the same form."""
    digits = f"{high:016x}{low:016x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _bytes_of(key: str) -> bytes:
    if len(key) == _UUID_LENGTH and all(key[place] == "-" for place in _DASHES):
        digits = key.replace("-", "")
        if len(digits) == len(_DIGITS) and not set(digits) - set("0123456789abcdef"):
            return bytes.fromhex(digits)
    return blake2b(key.encode(), digest_size=16).digest()


def _uuids(array: pa.Array) -> NDArray[np.void] | None:
    """ID [N] if every key is a UUID in lower case, else None."""
    offsets = np.frombuffer(array.buffers()[1], dtype=np.int32)[array.offset : array.offset + len(array) + 1] if len(array) else None
    if offsets is None or array.null_count or (np.diff(offsets) != _UUID_LENGTH).any():
        return None
    text = np.frombuffer(array.buffers()[2], dtype=np.uint8)[offsets[0] : offsets[-1]].reshape(-1, _UUID_LENGTH)
    values = _VALUE_OF[text[:, _DIGITS]]
    if (values == _INVALID).any() or (text[:, _DASHES] != ord("-")).any():
        return None
    pairs = np.ascontiguousarray((values[:, 0::2] << 4) | values[:, 1::2])
    return np.ascontiguousarray(pairs.view(">u8").astype("<u8")).view(ID).reshape(-1)
