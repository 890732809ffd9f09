"""Ranking of very many classes by inner products, a block of classes at a time.

Q queries, C classes, D embedding width. The products are computed in single precision, and every comparison that rounding could change is
repeated in double precision, so that the result is that of double precision. Memory is bounded by the blocks.

The rounding error of an inner product of D terms is below 8 sqrt(D) u |q| |w| with a probability of more than 1 - 1e-13, for random
errors of the unit roundoff u (Higham and Mary 2019, "A new approach to probabilistic rounding error analysis").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.predictions import NUM_KEPT, Ranked, rank_answers
from bioclip.evaluation.statistics import TIE_MARGIN

if TYPE_CHECKING:
    from numpy.typing import NDArray

_QUERIES, _CLASSES = 1024, 4096
_ROUNDOFF = 2.0**-24
_DEVIATIONS = 8
_MAX_PAIRS_A_QUERY = 512
_PAIRS_A_CHUNK = 16_384
_CHUNK_NUMBERS = 8_000_000


def rank_products(
    queries: NDArray[np.floating], weights: NDArray[np.float64], offsets: NDArray[np.float64], truth: NDArray[np.int64]
) -> Ranked:
    """Order the classes by `queries` [Q, D] @ `weights` [C, D].T + `offsets` [C], highest first; see `rank_answers`.

    Takes a copy of the weights in single precision and about 200 MB beside its arguments and its result, for any Q and C.
    """
    classes = _Classes.of(weights, offsets)
    parts = []
    for first in range(0, len(queries), _QUERIES):
        part = slice(first, first + _QUERIES)
        parts.append(_Block(queries[part].astype(np.float64), classes, truth[part]).rank())
    return join_ranked(parts)


def join_ranked(parts: Sequence[Ranked]) -> Ranked:
    """One result from those of consecutive queries."""
    columns = ("position", "num_tied", "top", "top_scores", "truth_score")
    return Ranked(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))


@dataclass
class _Pairs:
    """Pairs (query, class) to compute again; a query with more than `_MAX_PAIRS_A_QUERY` of them is `crowded` and computed as a whole."""

    counts: NDArray[np.int64]
    rows: list[NDArray[np.int64]] = field(default_factory=list)
    columns: list[NDArray[np.int64]] = field(default_factory=list)

    @property
    def crowded(self) -> NDArray[np.bool_]:
        """[Q] True for queries whose pairs are not complete."""
        return self.counts > _MAX_PAIRS_A_QUERY

    def add(self, chosen: NDArray[np.bool_], rows: NDArray[np.int64], first: int) -> None:
        """Remember the pairs where `chosen` [R, part] of the queries `rows` [R] and the classes from `first` is True."""
        self.counts[rows] += np.count_nonzero(chosen, axis=1)
        chosen[self.crowded[rows]] = False
        found, columns = np.nonzero(chosen)
        self.rows.append(rows[found])
        self.columns.append(columns + first)

    def all(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of the pairs of the queries that are not crowded, sorted by row, then by column."""
        rows, columns = np.concatenate(self.rows), np.concatenate(self.columns)
        order = np.lexsort((columns, rows))
        order = order[~self.crowded[rows[order]]]
        return rows[order], columns[order]


@dataclass(frozen=True)
class _Classes:
    """`weights` [C, D] and `offsets` [C] in double and in single precision, with the greatest length and offset."""

    weights: NDArray[np.float64]
    offsets: NDArray[np.float64]
    narrow: NDArray[np.float32]
    narrow_offsets: NDArray[np.float32]
    length: float
    offset: float

    @classmethod
    def of(cls, weights: NDArray[np.float64], offsets: NDArray[np.float64]) -> _Classes:
        """The copies and the bounds."""
        length = float(np.sqrt(np.einsum("cd,cd->c", weights, weights).max()))
        return cls(weights, offsets, weights.astype(np.float32), offsets.astype(np.float32), length, float(np.abs(offsets).max()))


class _Block:
    """The classes seen so far for some queries: how many are surely better than the truth, the best scores, and pairs to compute again."""

    def __init__(self, queries: NDArray[np.float64], classes: _Classes, truth: NDArray[np.int64]) -> None:
        self.queries, self.classes, self.truth = queries, classes, truth
        self.truth_score = self._exact(np.arange(len(queries)), truth)
        bound = np.linalg.norm(queries, axis=1) * classes.length + classes.offset
        self.error = 2 * _DEVIATIONS * np.sqrt(queries.shape[1]) * _ROUNDOFF * bound
        self.num_better = np.zeros(len(queries), dtype=np.int64)
        self.best = np.full((len(queries), min(NUM_KEPT, len(classes.weights))), -np.inf, dtype=np.float32)
        self.near, self.first = _Pairs(np.zeros(len(queries), dtype=np.int64)), _Pairs(np.zeros(len(queries), dtype=np.int64))

    def rank(self) -> Ranked:
        """See `rank_products`."""
        narrow = self.queries.astype(np.float32)
        for first in range(0, len(self.classes.weights), _CLASSES):
            part = slice(first, first + _CLASSES)
            scores = narrow @ self.classes.narrow[part].T
            scores += self.classes.narrow_offsets[part]
            self._compare(scores, first)
            self._keep_best(scores, first)
        return self._decide()

    def _compare(self, scores: NDArray[np.float32], first: int) -> None:
        error = self.error + TIE_MARGIN * np.abs(self.truth_score)
        above, below = (self.truth_score + error).astype(np.float32), (self.truth_score - error).astype(np.float32)
        num_above = np.count_nonzero(scores > above[:, None], axis=1)
        self.num_better += num_above
        rows = np.flatnonzero(np.count_nonzero(scores >= below[:, None], axis=1) > num_above)
        if len(rows):
            self.near.add((scores[rows] >= below[rows, None]) & (scores[rows] <= above[rows, None]), rows, first)

    def _keep_best(self, scores: NDArray[np.float32], first: int) -> None:
        rows = np.flatnonzero(scores.max(axis=1) >= self.best[:, -1] - 2 * self.error)
        if not len(rows):
            return
        found, kept = scores[rows], self.best.shape[1]
        top = -np.partition(-found, kept - 1, axis=1)[:, :kept] if found.shape[1] > kept else found
        self.best[rows] = -np.sort(-np.concatenate([self.best[rows], top], axis=1), axis=1)[:, :kept]
        self.first.add(found >= (self.best[rows, -1] - 2 * self.error[rows])[:, None].astype(np.float32), rows, first)

    def _decide(self) -> Ranked:
        rows, columns = self.near.all()
        margin, difference = TIE_MARGIN * np.abs(self.truth_score)[rows], self._exact(rows, columns) - self.truth_score[rows]
        count = len(self.queries)
        position = self.num_better + np.bincount(rows[difference > margin], minlength=count)
        num_tied = np.bincount(rows[np.abs(difference) <= margin], minlength=count)
        top, top_scores = self._best_answers()
        result = Ranked(position, num_tied, top, top_scores, self.truth_score)
        crowded = np.flatnonzero(self.near.crowded | self.first.crowded)
        size = max(1, _CHUNK_NUMBERS // len(self.classes.weights))
        for start in range(0, len(crowded), size):
            part = crowded[start : start + size]
            whole = rank_answers(self.queries[part] @ self.classes.weights.T + self.classes.offsets, self.truth[part])
            for name in ("position", "num_tied", "top", "top_scores", "truth_score"):
                getattr(result, name)[part] = getattr(whole, name)
        return result

    def _best_answers(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """([Q, K] the best classes, ties in their order; [Q, K] their scores), 0 for a crowded query."""
        rows, columns = self.first.all()
        scores = self._exact(rows, columns)
        order = np.lexsort((columns, -scores, rows))
        rows, columns, scores = rows[order], columns[order], scores[order]
        rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
        chosen = rank < self.best.shape[1]
        top, top_scores = np.zeros(self.best.shape, dtype=np.int64), np.zeros(self.best.shape)
        top[rows[chosen], rank[chosen]] = columns[chosen]
        top_scores[rows[chosen], rank[chosen]] = scores[chosen]
        return top, top_scores

    def _exact(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        found = np.empty(len(rows))
        for first in range(0, len(rows), _PAIRS_A_CHUNK):
            part = slice(first, first + _PAIRS_A_CHUNK)
            found[part] = (
                np.einsum("pd,pd->p", self.queries[rows[part]], self.classes.weights[columns[part]]) + self.classes.offsets[columns[part]]
            )
        return found
