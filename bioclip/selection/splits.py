"""Names of the splits, and the hashes and keys by which images come into them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

TRAIN, VAL, HELDOUT = "train", "val", "heldout"
SPLIT_NAMES = ("", TRAIN, VAL, HELDOUT)
"""Splits by their code; the stronger claim on an image has the higher one."""
Splits = npt.NDArray[np.int8]
"""Codes of splits, as in SPLIT_NAMES; 0 where there is none."""
_HASHED_AT_ONCE = 1_000_000


def unit_hash(salt: str, text: str) -> float:
    """A number in [0, 1) from SHA-256 of salt and text."""
    return int.from_bytes(hashlib.sha256(f"{salt}\x1f{text}".encode()).digest()[:8], "big") / 2**64


def unit_hashes(salt: str, texts: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """`unit_hash` of every text [N]."""
    prefix, sha256 = f"{salt}\x1f".encode(), hashlib.sha256
    found = [np.empty(0, np.float64)]
    for part in _slices(texts):
        heads = b"".join([sha256(prefix + text.encode()).digest()[:8] for text in part.to_pylist()])
        found.append(np.frombuffer(heads, ">u8").astype(np.float64) / 2**64)
    return np.concatenate(found)


def _slices(texts: pa.ChunkedArray) -> Iterator[pa.ChunkedArray]:
    for start in range(0, len(texts), _HASHED_AT_ONCE):
        yield texts.slice(start, _HASHED_AT_ONCE)


def occurrence_key(source: str, occurrence_id: str, source_id: str) -> str:
    """What images of one encounter share; the provider's own id stands in where no occurrence id is given."""
    return f"{source}\x1f{occurrence_id or source_id}"


def occurrence_keys(table: pa.Table) -> pa.ChunkedArray:
    """`occurrence_key` of every row of a table with those three columns."""
    texts = {name: pc.fill_null(table[name], "") for name in ("source", "occurrence_id", "source_id")}
    known = pc.if_else(pc.equal(texts["occurrence_id"], ""), texts["source_id"], texts["occurrence_id"])
    return pc.binary_join_element_wise(texts["source"], known, "\x1f")
