"""Names of the splits, and the hashes and keys that assign images to them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

TRAIN, VAL, HELDOUT = "train", "val", "heldout"
SPLIT_NAMES = ("", TRAIN, VAL, HELDOUT)
"""Splits by their code; for conflicting splits of an image the higher code takes precedence."""
Splits = npt.NDArray[np.int8]
"""EncodedTexts of splits, as in SPLIT_NAMES; 0 if there is none."""
_HASHED_AT_ONCE = 1_000_000

NOT_DRAWN, TOO_FEW_IMAGES, ABOVE_SPECIES, TRAINED_BEFORE = "not_drawn_for_val", "too_few_images_for_val", "above_species", "trained_before"
DRAWN, EVALUATED_BEFORE = "drawn_for_val", "evaluated_before"
BY_LIST, WITH_TAXON, BY_HASH, BY_NUMBER = "heldout_by_list", "heldout_with_taxon", "heldout_by_hash", "heldout_by_number"
BY_STRATUM, HELD_OUT_BEFORE = "heldout_by_stratum", "heldout_before"
SPLIT_REASONS = MappingProxyType(
    {
        ABOVE_SPECIES: "Train: the image is labelled above the species, so it is never evaluated on.",
        TOO_FEW_IMAGES: "Train: the species has fewer images than `release.val_min_images`.",
        NOT_DRAWN: "Train: the hash of the occurrence is not below `release.val_fraction`.",
        TRAINED_BEFORE: "Train: a release of the line trained on the image, its occurrence or a duplicate of it.",
        DRAWN: "Val: the hash of the occurrence is below `release.val_fraction`.",
        EVALUATED_BEFORE: "Val: a release of the line evaluated on the image, its occurrence or a duplicate of it.",
        BY_LIST: "Heldout: `release.heldout_species` or `release.heldout_list` names the species.",
        WITH_TAXON: "Heldout: the list names a species of the same taxon at `release.heldout_rank`, which is held out as a whole.",
        BY_HASH: "Heldout: the hash of the taxon at `release.heldout_rank` is below `release.heldout_fraction`.",
        BY_NUMBER: "Heldout: the taxon at `release.heldout_rank` has a low hash, among those of `release.heldout_num_species` species.",
        BY_STRATUM: "Heldout: the taxon at `release.heldout_rank` has the lowest hash of its stratum at `release.heldout_strata`.",
        HELD_OUT_BEFORE: "Heldout: a release of the line held the species out, or another one of its taxon at `release.heldout_rank`.",
    }
)
"""Values of `split_reason` in samples.parquet, with the sentence of each. Of several that apply, a rule of the settings is
recorded before an earlier release."""
REASON_CODES = ("", *SPLIT_REASONS)
"""Reasons by their code; 0 for none."""
Reasons = npt.NDArray[np.int8]
"""EncodedTexts of split reasons, as in REASON_CODES."""


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
    """Key shared by the images of one encounter; the provider's own id is used if there is no occurrence id."""
    return f"{source}\x1f{occurrence_id or source_id}"


def occurrence_keys(table: pa.Table) -> pa.ChunkedArray:
    """`occurrence_key` of every row of a table with those three columns."""
    texts = {name: pc.fill_null(table[name], "") for name in ("source", "occurrence_id", "source_id")}
    known = pc.if_else(pc.equal(texts["occurrence_id"], ""), texts["source_id"], texts["occurrence_id"])
    return pc.binary_join_element_wise(texts["source"], known, "\x1f")
