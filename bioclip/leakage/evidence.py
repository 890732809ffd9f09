"""From keys that training and evaluation share to rows of evidence, without a loop over images and with a bounded number of pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bioclip.duplicates.hamming.cross_search import IndexArray
from bioclip.schemas import LEAK_SCHEMA

MAX_LISTED = 64
"""Pairs of images with one key that are listed; of more, as many as are needed to list every image of both sides."""


@dataclass(frozen=True)
class Groups:
    """Rows by group: those of group g are order[starts[g] : starts[g] + counts[g]]."""

    order: IndexArray
    starts: IndexArray
    counts: IndexArray

    @classmethod
    def of(cls, groups: IndexArray, num_groups: int) -> Groups:
        """`groups` [rows] names each row's group, -1 for none."""
        rows = np.flatnonzero(groups >= 0)
        order = rows[np.argsort(groups[rows], kind="stable")]
        counts = np.bincount(groups[rows], minlength=num_groups).astype(np.int64)
        return cls(order, np.cumsum(counts) - counts, counts)


@dataclass(frozen=True)
class Hits:
    """Row numbers of both sides, equal in length, and the pair of groups that each comes from; `num_unlisted` pairs are left out."""

    train: IndexArray
    evaluation: IndexArray
    origin: IndexArray
    num_unlisted: int = 0


def shared_values(train: pa.ChunkedArray, evaluation: pa.ChunkedArray) -> Hits:
    """Rows whose values are equal and not null."""
    known = pc.drop_null(pc.unique(evaluation.combine_chunks()))
    if len(known) == 0 or len(train) == 0:
        nothing = np.empty(0, np.int64)
        return Hits(nothing, nothing, nothing)
    left, right = (Groups.of(_numbers(values, known), len(known)) for values in (train, evaluation))
    shared = np.flatnonzero(left.counts * right.counts)
    return pair_groups(left, right, shared, shared)


def _numbers(values: pa.ChunkedArray, known: pa.Array) -> IndexArray:
    numbers: IndexArray = pc.fill_null(pc.index_in(values, value_set=known, skip_nulls=True), -1).to_numpy().astype(np.int64)
    return numbers


def pair_groups(left: Groups, right: Groups, left_groups: IndexArray, right_groups: IndexArray) -> Hits:
    """Pairs of rows of each pair of groups: all, or beyond MAX_LISTED the first of either side with every one of the other."""
    num_left, num_right = left.counts[left_groups], right.counts[right_groups]
    products = num_left * num_right
    is_listed = products <= MAX_LISTED
    sizes = np.where(is_listed, products, num_left + num_right - 1)
    origin = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(len(origin)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    listed, across, down = is_listed[origin], num_right[origin], num_left[origin]
    is_first_part = place < down
    in_left = np.where(listed, place // np.maximum(across, 1), np.where(is_first_part, place, 0))
    in_right = np.where(listed, place % np.maximum(across, 1), np.where(is_first_part, 0, place - down + 1))
    return Hits(
        left.order[left.starts[left_groups][origin] + in_left],
        right.order[right.starts[right_groups][origin] + in_right],
        origin,
        int((products - sizes).sum()),
    )


def evidence_table(
    train: pa.Table,
    evaluation: pa.Table,
    evaluation_set: str,
    kind: str,
    hits: Hits,
    details: pa.ChunkedArray | str,
    values: npt.NDArray[np.float64] | None = None,
) -> pa.Table:
    """LEAK_SCHEMA rows of `hits`; `details` one for each hit, or one for all."""
    num = len(hits.train)
    columns = [
        train["record_id"].take(pa.array(hits.train)),
        pa.array([evaluation_set], pa.string()).take(pa.array(np.zeros(num, np.int64))),
        evaluation["record_id"].take(pa.array(hits.evaluation)),
        pa.array([kind], pa.string()).take(pa.array(np.zeros(num, np.int64))),
        pa.nulls(num, pa.float64()) if values is None else pa.array(values, pa.float64()),
        pa.array([details], pa.string()).take(pa.array(np.zeros(num, np.int64))) if isinstance(details, str) else details,
    ]
    return pa.table(columns, names=LEAK_SCHEMA.names).cast(LEAK_SCHEMA)
