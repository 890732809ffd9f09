"""Probabilities of taxa at every rank from the similarities of classes, one image after the other in constant memory.

The matrix that maps classes to the taxa of a rank has a single 1 per class, so a sparse product sums the probabilities by segments.
Ranks are nested: a family is summed over its genera and not again over its species. The weights exp(scale (s - max s)) are float32 like
the similarities, their sums float64. An image is ranked again with float64 weights if a weight is too small for float32, or if the sum of
the true taxon equals another one, since rounding alone must not make a tie. Where each class is a taxon of its own, the similarities
themselves are ranked, whose order the softmax keeps. C classes, T taxa of a rank, N images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from bioclip.evaluation.predictions import Ranked, rank_answers
from bioclip.records import RANKS

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from bioclip.evaluation.benchmark import SpeciesClass

_CACHED_NUMBERS = 400_000
"""Classes x images worked on at once, so that they stay in the processor's cache."""
_LEAST_EXPONENT = -80.0
"""exp of it is a normal float32."""


@dataclass(frozen=True)
class RankTaxa:
    """The taxa of one rank: `of_species` [C] numbers them in order, `starts` [T] is each taxon's first species, `is_named` [T] False where
    the lineage is not filled at the rank."""

    of_species: NDArray[np.int64]
    starts: NDArray[np.int64]
    names: tuple[str, ...]
    is_named: NDArray[np.bool_]


def taxa_at(classes: Sequence[SpeciesClass], rank: str) -> RankTaxa:
    """The taxa of sorted `classes` at `rank`: species share one when their lineages agree down to it."""
    depth = RANKS.index(rank) + 1
    paths = [c.lineage[:depth] for c in classes]
    changes = [0] + [int(now != before) for before, now in pairwise(paths)]
    of_species = np.cumsum(np.array(changes, dtype=np.int64))
    starts = np.flatnonzero(np.diff(of_species, prepend=-1))
    names = tuple(paths[start][-1] for start in starts)
    return RankTaxa(of_species, starts, names, np.array([bool(name) for name in names]))


@dataclass(frozen=True)
class _Step:
    """From the classes, or the taxa of the rank below, to those of `rank`; `matrix` is None if each of them is one of its own."""

    rank: str
    matrix: csr_array | None
    num_taxa: int
    is_of_classes: bool
    """True if each class is a taxon of its own."""


class RankRollup:
    """Collects the ranked taxa of images at each rank of `taxa`; images come in parts, and each part adds to the results.

    The images of a part are shared by `num_threads` threads, which does not change the results.
    """

    def __init__(self, taxa: Mapping[str, RankTaxa], scale: float, num_threads: int = 1) -> None:
        self.taxa = dict(taxa)
        self.scale = scale
        self.num_threads = num_threads
        self._parts: dict[str, list[Ranked]] = {rank: [] for rank in taxa}
        self._steps = _plan(self.taxa)

    def add(self, similarities: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """Rank the taxa for images with `similarities` [N, C], whose true classes are `labels` [N]."""
        size = -(-len(labels) // max(1, self.num_threads))
        slices = [slice(first, first + size) for first in range(0, len(labels), size)]
        if len(slices) == 1:
            made = [self._rank_exactly(similarities, labels)]
        else:
            with ThreadPoolExecutor(len(slices)) as pool:
                made = list(pool.map(lambda part: self._rank_exactly(similarities[part], labels[part]), slices))
        for found in made:
            for rank, ranked in found.items():
                self._parts[rank].append(ranked)

    def ranked(self, rank: str) -> Ranked:
        """The taxa of `rank` for all images added so far, in their order."""
        return Ranked(*(np.concatenate([getattr(part, one.name) for part in self._parts[rank]]) for one in fields(Ranked)))

    def _rank_exactly(self, similarities: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, Ranked]:
        """Images for which float32 may be too coarse are ranked again in float64."""
        greatest = similarities.max(axis=1, keepdims=True)
        found = self._rank(similarities, greatest, labels, np.dtype(np.float32))
        coarse = (similarities.min(axis=1) - greatest[:, 0]) * self.scale < _LEAST_EXPONENT
        for step in self._steps:
            if not step.is_of_classes:
                coarse |= found[step.rank].num_tied > 1
        if coarse.any():
            exact = self._rank(similarities[coarse], greatest[coarse], labels[coarse], np.dtype(np.float64))
            for rank, other in exact.items():
                for one in fields(Ranked):
                    getattr(found[rank], one.name)[coarse] = getattr(other, one.name)
        return found

    def _rank(
        self, similarities: NDArray[np.float32], greatest: NDArray[np.float32], labels: NDArray[np.int64], dtype: np.dtype[Any]
    ) -> dict[str, Ranked]:
        total, sums = self._sum_weights(similarities, greatest, dtype)
        found: dict[str, Ranked] = {}
        summed = False
        for step in self._steps:
            truth = self.taxa[step.rank].of_species[labels]
            if step.is_of_classes:
                ranked = rank_answers(similarities, truth)
                top, true = (
                    np.exp((some.astype(np.float64) - greatest) * self.scale) for some in (ranked.top_scores, ranked.truth_score[:, None])
                )
                true = true[:, 0]
            else:
                sums = sum_by_matrix(sums, step.matrix) if summed and step.matrix is not None else sums
                summed = True
                ranked = rank_answers(sums, truth)
                top, true = ranked.top_scores, ranked.truth_score
            found[step.rank] = replace(ranked, top_scores=top / total[:, None], truth_score=true / total)
        return found

    def _sum_weights(
        self, similarities: NDArray[np.float32], greatest: NDArray[np.float32], dtype: np.dtype[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """([N] sum of the weights of all classes, [N, T] sums at the deepest rank that has fewer taxa than classes)."""
        step = next((one for one in self._steps if not one.is_of_classes), None)
        num_images, num_classes = similarities.shape
        total, sums = np.empty(num_images), np.empty((num_images, step.num_taxa if step else 0))
        size = max(1, _CACHED_NUMBERS // num_classes)
        buffer: NDArray[Any] = np.empty((min(size, num_images), num_classes), dtype)
        for first in range(0, num_images, size):
            part = slice(first, first + size)
            weights = buffer[: min(size, num_images - first)]
            np.subtract(similarities[part], greatest[part], out=weights, dtype=dtype)
            np.exp(np.multiply(weights, dtype.type(self.scale), out=weights), out=weights)
            total[part] = weights.sum(axis=1, dtype=np.float64)
            if step and step.matrix is not None:
                sums[part] = sum_by_matrix(weights, step.matrix)
        return total, sums


def sum_segments(weights: NDArray[Any], number: NDArray[np.int64], num_taxa: int) -> NDArray[np.float64]:
    """float64 [N, T]: the sums of `weights` [N, C] over the classes of each taxon, `number` [C] being the taxon of each class."""
    return sum_by_matrix(weights, segment_matrix(number, num_taxa))


def sum_by_matrix(weights: NDArray[Any], matrix: csr_array) -> NDArray[np.float64]:
    """float64 [N, T]: the product of `weights` [N, C] with the transpose of `matrix` [T, C], some rows at a time."""
    size = max(1, _CACHED_NUMBERS // weights.shape[1])
    parts = [(matrix @ weights[first : first + size].T).T for first in range(0, len(weights), size)]
    return np.concatenate(parts)


def segment_matrix(number: NDArray[np.int64], num_taxa: int) -> csr_array:
    """The sparse matrix [T, C] with a 1 where the class belongs to the taxon; `number` [C] is the taxon of each class, in any order."""
    from scipy.sparse import csr_array

    places = (number, np.arange(len(number)))
    return csr_array((np.ones(len(number)), places), shape=(num_taxa, len(number)))


def _plan(taxa: Mapping[str, RankTaxa]) -> list[_Step]:
    steps: list[_Step] = []
    firsts: NDArray[np.int64] | None = None
    is_of_classes = True
    for rank in sorted(taxa, key=RANKS.index, reverse=True):
        one = taxa[rank]
        number = one.of_species if firsts is None else one.of_species[firsts]
        is_new = len(number) > len(one.starts)
        is_of_classes &= not is_new
        steps.append(_Step(rank, segment_matrix(number, len(one.starts)) if is_new else None, len(one.starts), is_of_classes))
        firsts = one.starts
    return steps
