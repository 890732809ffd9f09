"""The additional texts of a release (languages, descriptions) by taxon, as a few bytes per taxon; the texts stay on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bioclip.digests import digest_value
from bioclip.parquet import read_batches, read_matching_rows
from bioclip.records import RANKS
from bioclip.selection.texts import Texts
from bioclip.storage import Storage

TAXON_COLUMNS = ("accepted_id", *RANKS)
"""Columns that identify a sample's taxon."""
_COLUMNS = ("accepted_id", "scientific_name", "member", "text")
_SEPARATOR = "\x1f"


@dataclass(frozen=True)
class TaxonTexts:
    """Taxa [T] with texts, in order of their keys: SHA-256 of their texts [T, 32], and which of the `members` each has."""

    keys: pa.Array
    digests: npt.NDArray[np.uint8]
    member_codes: npt.NDArray[np.int32]
    members: Sequence[tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.keys)

    def places(self, keys: pa.ChunkedArray) -> set[int]:
        """Positions of those taxa of `keys` that have texts."""
        return set(pc.index_in(pc.unique(keys), value_set=self.keys).drop_null().to_pylist())

    def members_of(self, keys: pa.ChunkedArray) -> list[tuple[str, ...]]:
        """Additional members, sorted, that a sample of each taxon of `keys` has."""
        places = pc.index_in(keys, value_set=self.keys).to_pylist()
        return [() if place is None else self.members[self.member_codes[place]] for place in places]


def read_taxon_texts(storage: Storage, name: str) -> TaxonTexts:
    """The taxa of a TEXTS_SCHEMA file, read in one pass."""
    codes: dict[tuple[str, ...], int] = {}
    keys, digests, member_codes = [], [], []
    for key, rows in groupby(_rows(storage, name), key=lambda row: (row["accepted_id"], row["scientific_name"])):
        texts = {row["member"]: row["text"] for row in rows}
        keys.append(_SEPARATOR.join(key))
        digests.append(bytes.fromhex(digest_value([list(key), texts])))
        member_codes.append(codes.setdefault(tuple(sorted(texts)), len(codes)))
    joined = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
    return TaxonTexts(pa.array(keys, pa.string()), joined, np.array(member_codes, np.int32), list(codes))


def texts_of(storage: Storage, name: str, samples: pa.Table) -> Texts:
    """Texts of the samples' taxa, from a TEXTS_SCHEMA file."""
    wanted = set(pc.unique(samples["accepted_id"]).to_pylist())
    texts: Texts = {}
    for row in read_matching_rows(storage, name, "accepted_id", wanted, _COLUMNS).to_pylist():
        texts.setdefault((row["accepted_id"], row["scientific_name"]), {})[row["member"]] = row["text"]
    return texts


def taxon_keys(rows: pa.Table) -> pa.ChunkedArray:
    """Accepted id and scientific name of each row with TAXON_COLUMNS: `text_key` of selection/texts.py, joined."""
    nothing = pa.scalar(None, pa.string())
    names = [pc.if_else(pc.equal(rows[rank], ""), nothing, rows[rank]) for rank in reversed(RANKS)]
    return pc.binary_join_element_wise(rows["accepted_id"], pc.fill_null(pc.coalesce(*names), ""), _SEPARATOR)


def _rows(storage: Storage, name: str) -> Iterator[dict[str, Any]]:
    for batch in read_batches(storage, name, _COLUMNS):
        yield from batch.to_pylist()
