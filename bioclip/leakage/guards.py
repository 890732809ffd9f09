"""The guards: each compares two tables of fingerprints, column by column, and returns evidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bioclip.duplicates.hamming.cross_search import IndexArray
from bioclip.leakage.evidence import Hits, evidence_table, shared_values
from bioclip.schemas import LEAK_SCHEMA

FloatArray = npt.NDArray[np.float32]

_BLOCK = 1 << 12
"""Training embeddings that are multiplied at once."""
_ROUNDING = 1e-3
"""Greatest error of a cosine in single precision; pairs this close below the threshold are computed in double precision."""
_COSINE_DECIMALS = 6


@dataclass(frozen=True)
class SetFingerprints:
    """Fingerprints of one evaluation set.

    `images` are FINGERPRINT_SCHEMA rows. With `holds_out_species`, its species must not be trained on. `embeddings` are unit vectors
    [images, D] with rows of NaN where an image has none.
    """

    name: str
    images: pa.Table
    holds_out_species: bool = False
    embeddings: FloatArray | None = None


Evidence = tuple[pa.Table, int]
"""LEAK_SCHEMA rows, and how many further pairs with crowded keys they leave out."""


def equal_guard(train: pa.Table, side: SetFingerprints, kind: str, columns: tuple[str, ...], words: str) -> Evidence:
    """Images that share a value of one of `columns`; the detail is `words` and the value."""
    pairs = _Pairs(side.images.num_rows)
    tables = []
    for column in columns:
        hits = pairs.new(shared_values(train[column], side.images[column]))
        shared = pc.replace_substring(train[column].take(pa.array(hits.train)), "\x1f", " ")
        tables.append(evidence_table(train, side.images, side.name, kind, hits, pc.binary_join_element_wise(words, shared, " ")))
    return pa.concat_tables(tables), pairs.num_unlisted


def observer_day_guard(train: pa.Table, side: SetFingerprints, kind: str) -> Evidence:
    """Images of one observer on one day."""
    joined = [table.append_column("visit", pc.binary_join_element_wise(table["observer"], table["event_day"], "\x1f"))
              for table in (train, side.images)]  # fmt: skip
    visiting = SetFingerprints(side.name, joined[1])
    return equal_guard(joined[0], visiting, kind, ("visit",), "same observer and day:")


def species_guard(train: pa.Table, side: SetFingerprints, kind: str) -> Evidence:
    """Images of a species that the set holds out: by accepted id, by accepted name, and by verbatim names where a side is not resolved."""
    if not side.holds_out_species:
        return LEAK_SCHEMA.empty_table(), 0
    (open_train, verbatim_train), (open_side, verbatim_side) = _verbatim_names(train), _verbatim_names(side.images)
    accepted, verbatim = "by its accepted name", "by its verbatim name"
    trials = [
        (train["accepted_id"], side.images["accepted_id"], accepted),
        (train["species"], side.images["species"], accepted),
        (open_train, side.images["species"], verbatim),
        (open_train, verbatim_side, verbatim),
        (train["species"], open_side, verbatim),
        (verbatim_train, open_side, verbatim),
    ]
    pairs, tables = _Pairs(side.images.num_rows), []
    for on_train, on_side, how in trials:
        hits = pairs.new(shared_values(on_train, on_side))
        tables.append(evidence_table(train, side.images, side.name, kind, hits, _species_detail(train, side.images, hits, how)))
    return pa.concat_tables(tables), pairs.num_unlisted


class _Pairs:
    """Pairs that a guard has found so far, so that each is listed once."""

    def __init__(self, num_evaluation: int) -> None:
        self._num_evaluation = num_evaluation
        self._seen = np.empty(0, np.int64)
        self.num_unlisted = 0

    def new(self, hits: Hits) -> Hits:
        """`hits` without the pairs found before."""
        codes = hits.train * self._num_evaluation + hits.evaluation
        is_new = ~np.isin(codes, self._seen)
        self._seen = np.concatenate([self._seen, codes[is_new]])
        self.num_unlisted += hits.num_unlisted
        return Hits(hits.train[is_new], hits.evaluation[is_new], hits.origin[is_new])


def _verbatim_names(table: pa.Table) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Verbatim canonical names: (of images without an accepted species, of all), null where there is none."""
    return pc.if_else(pc.is_null(table["species"]), table["canonical_name"], pa.scalar(None, pa.string())), table["canonical_name"]


def _species_detail(train: pa.Table, evaluation: pa.Table, hits: Hits, how: str) -> pa.ChunkedArray:
    """`<verbatim in training> is held out <how> <accepted name>, there <verbatim in the set>`."""

    def shown(table: pa.Table, column: str, rows: IndexArray) -> pa.ChunkedArray:
        return table[column].take(pa.array(rows))

    ours, theirs = (shown(*one) for one in ((train, "canonical_name", hits.train), (evaluation, "canonical_name", hits.evaluation)))
    taxon = pc.coalesce(
        shown(train, "species", hits.train),
        shown(evaluation, "species", hits.evaluation),
        ours,
        theirs,
        shown(train, "accepted_id", hits.train),
    )
    return pc.binary_join_element_wise(pc.coalesce(ours, taxon), f" is held out {how} ", taxon, ", there ", pc.coalesce(theirs, taxon), "")


def embedding_guard(train: pa.Table, embeddings: FloatArray, side: SetFingerprints, kind: str, threshold: float) -> Evidence:
    """Images whose embeddings have a cosine of at least `threshold`; both sides must come from one model without augmentation."""
    if side.embeddings is None or not len(side.embeddings) or not len(embeddings):
        return LEAK_SCHEMA.empty_table(), 0
    on_train, on_side, cosines = cosine_pairs(embeddings, side.embeddings, threshold)
    hits = Hits(on_train, on_side, np.arange(len(on_train)))
    return evidence_table(train, side.images, side.name, kind, hits, "cosine of embeddings", cosines), 0


def cosine_pairs(left: FloatArray, right: FloatArray, threshold: float) -> tuple[IndexArray, IndexArray, npt.NDArray[np.float64]]:
    """(rows of `left` [N, D], rows of `right` [M, D], cosines) of at least `threshold`, sorted; rows of NaN match nothing.

    Single precision finds candidates, double precision decides and is rounded to 6 decimals, so that no order of summation shows.
    """
    found: list[tuple[IndexArray, IndexArray, npt.NDArray[np.float64]]] = []
    turned = np.ascontiguousarray(np.nan_to_num(right).T)
    for low in range(0, len(left), _BLOCK):
        rows, columns = np.nonzero(np.nan_to_num(left[low : low + _BLOCK]) @ turned >= threshold - _ROUNDING)
        rows += low
        exact = np.einsum("ij,ij->i", left[rows].astype(np.float64), right[columns].astype(np.float64))
        cosines = np.round(exact, _COSINE_DECIMALS)
        keep = cosines >= threshold
        found.append((rows[keep].astype(np.int64), columns[keep].astype(np.int64), cosines[keep]))
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    rows, columns, cosines = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return rows, columns, cosines
