"""The guard against near copies: pHashes within a radius, confirmed by thumbnails."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bioclip.duplicates.correlation import BoolArray, Thumbnails, confirm_pairs, number_thumbnails, read_thumbnails
from bioclip.duplicates.hamming.cross_search import HashArray, IndexArray, cross_pairs
from bioclip.leakage.evidence import Groups, evidence_table, pair_groups
from bioclip.leakage.guards import Evidence, SetFingerprints

_MAX_LOOKS = 1 << 16
"""Pairs of thumbnails compared for one pair of hashes; a pair of hashes with more is evidence without them, counted as unconfirmed."""
_BATCH_LOOKS = 1 << 20


class NearGuard:
    """Images whose pHashes differ in at most `radius` bits and whose thumbnails have at least `min_correlation`; the training side is
    searched once for all sets.

    Where a thumbnail is missing the pHashes alone decide, so that no leak is missed. `counts`: `near_pairs_refused` and
    `near_pairs_unconfirmed`, of distinct pHashes and thumbnails.
    """

    def __init__(self, train: pa.Table, sides: list[SetFingerprints], radius: int, min_correlation: float) -> None:
        self._min_correlation = min_correlation
        self._hashes, self._groups = _sharp_hashes(train)
        sharp = [_sharp_hashes(side.images) for side in sides]
        self._known = np.unique(np.concatenate([hashes for hashes, _ in sharp])) if sharp else np.empty(0, np.uint64)
        self._sides = {side.name: _renumbered(self._known, *one) for side, one in zip(sides, sharp, strict=True)}
        self._pairs = cross_pairs(self._hashes, self._known, radius)
        self.num_left_out = self._pairs.num_left_out
        self.counts = Counter[str]()

    def find(self, train: pa.Table, side: SetFingerprints, kind: str) -> Evidence:
        """Evidence against one of the sets."""
        groups = self._sides[side.name]
        mine = (np.bincount(groups[groups >= 0], minlength=len(self._known)) > 0)[self._pairs.right]
        left, right, distance = self._pairs.left[mine], self._pairs.right[mine], self._pairs.distance[mine]
        ours = _Looks.of(train, self._groups, np.unique(left), len(self._hashes))
        theirs = _Looks.of(side.images, groups, np.unique(right), len(self._known))
        is_crowded = ours.sizes[left] * theirs.sizes[right] > _MAX_LOOKS
        one, other, origin = self._confirmed(ours, theirs, left[~is_crowded], right[~is_crowded], distance[~is_crowded])
        hits = pair_groups(ours.rows, theirs.rows, one, other)
        crowded = Groups.of(self._groups, len(self._hashes)), Groups.of(groups, len(self._known))
        more = pair_groups(*crowded, left[is_crowded], right[is_crowded])
        self.counts += Counter(near_pairs_unconfirmed=int((ours.sizes[left] * theirs.sizes[right])[is_crowded].sum()))
        values = distance[~is_crowded][origin][hits.origin], distance[is_crowded][more.origin]
        tables = [
            evidence_table(train, side.images, side.name, kind, part, "pHash distance", bits.astype(np.float64))
            for part, bits in zip((hits, more), values, strict=True)
        ]
        return pa.concat_tables(tables), hits.num_unlisted + more.num_unlisted

    def _confirmed(
        self, ours: _Looks, theirs: _Looks, left: IndexArray, right: IndexArray, distance: IndexArray
    ) -> tuple[IndexArray, IndexArray, IndexArray]:
        """(looks of training, looks of the set, index of the pair of hashes) of the pairs of looks that are evidence."""
        sizes = ours.sizes[left] * theirs.sizes[right]
        found = [(np.empty(0, np.int64),) * 3]
        ends = np.searchsorted(np.cumsum(sizes), np.arange(_BATCH_LOOKS, int(sizes.sum()) + _BATCH_LOOKS, _BATCH_LOOKS), side="right")
        for chosen in np.split(np.arange(len(left)), np.unique(ends)):
            one, other, place = _products(ours, theirs, left[chosen], right[chosen])
            judged = ours.present[one] & theirs.present[other] & (self._min_correlation > -1)
            is_near = ~judged
            pairs = one[judged], other[judged], distance[chosen][place[judged]]
            is_near[judged] = confirm_pairs(ours.thumbnails, theirs.thumbnails, *pairs, self._min_correlation)
            self.counts += Counter(near_pairs_refused=int((~is_near).sum()))
            if self._min_correlation > -1:
                self.counts += Counter(near_pairs_unconfirmed=int((~judged).sum()))
            found.append((one[is_near], other[is_near], chosen[place[is_near]]))
        one, other, origin = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return one, other, origin


@dataclass(frozen=True)
class _Looks:
    """Distinct pairs of pHash and thumbnail among the rows of a table, in order of the hash.

    `rows`: rows of the table by look; `starts` and `sizes` [hashes]: looks of each hash; `thumbnails` and `present` [looks].
    """

    rows: Groups
    starts: IndexArray
    sizes: IndexArray
    thumbnails: Thumbnails
    present: BoolArray

    @classmethod
    def of(cls, table: pa.Table, hashes: IndexArray, wanted: IndexArray, num_hashes: int) -> _Looks:
        """Looks of the rows whose hash (index, -1 for none) is `wanted`."""
        is_wanted = np.zeros(num_hashes + 1, bool)
        is_wanted[wanted] = True
        rows = np.flatnonzero(is_wanted[hashes])
        thumbnails, present = read_thumbnails(table["thumbnail"].take(pa.array(rows)))
        codes = np.where(present, 1 + number_thumbnails(thumbnails), 0)
        _, heads, looks = np.unique(hashes[rows] * (len(rows) + 1) + codes, return_index=True, return_inverse=True)
        groups = np.full(table.num_rows, -1, np.int64)
        groups[rows] = looks
        sizes = np.bincount(hashes[rows][heads], minlength=num_hashes)
        return cls(Groups.of(groups, len(heads)), np.cumsum(sizes) - sizes, sizes, thumbnails[heads], present[heads])


def _products(ours: _Looks, theirs: _Looks, left: IndexArray, right: IndexArray) -> tuple[IndexArray, IndexArray, IndexArray]:
    """All pairs of looks of the pairs of hashes, and the index of the pair of hashes that each comes from."""
    across = theirs.sizes[right]
    sizes = ours.sizes[left] * across
    pair = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(len(pair)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return ours.starts[left[pair]] + place // across[pair], theirs.starts[right[pair]] + place % across[pair], pair


def _sharp_hashes(table: pa.Table) -> tuple[HashArray, IndexArray]:
    """(distinct hashes that are not flat, index of each row's hash or -1)."""
    is_sharp = pc.and_(pc.is_valid(table["phash"]), pc.invert(pc.fill_null(table["is_flat"], False))).to_numpy(zero_copy_only=False)
    is_sharp = is_sharp.astype(bool)
    hashes = pc.fill_null(table["phash"], 0).to_numpy().astype(np.uint64)
    distinct, numbers = np.unique(hashes[is_sharp], return_inverse=True)
    groups = np.full(len(hashes), -1, np.int64)
    groups[is_sharp] = numbers
    return distinct, groups


def _renumbered(known: HashArray, hashes: HashArray, groups: IndexArray) -> IndexArray:
    places = np.searchsorted(known, hashes)
    return np.where(groups >= 0, places[np.maximum(groups, 0)] if len(places) else -1, -1).astype(np.int64)
