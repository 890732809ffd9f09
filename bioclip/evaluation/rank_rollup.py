"""Probabilities of taxa at every rank from the similarities of classes, one image after the other in constant memory.

The matrix that maps classes to the taxa of a rank has a single 1 per class, so its product with the probabilities is a sum by segments.
Ranks are nested: a family is summed over its genera and not again over its species. The weights exp(scale (s - max s)) are float32 like
the similarities, their sums float64. An image is ranked again with float64 weights if a weight is too small for float32, or if the sum of
the true taxon equals another one, since rounding alone must not make a tie. Where each class is a taxon of its own, the similarities
themselves are ranked, whose order the softmax keeps. C classes, T taxa of a rank, N images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from bioclip.evaluation.predictions import Ranked, rank_answers
from bioclip.records import RANKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    """From the classes, or the taxa of the rank below, to those of `rank`; `number` is None if each of them is one of its own."""

    rank: str
    number: NDArray[np.int64] | None
    num_taxa: int
    is_of_classes: bool
    """True if each class is a taxon of its own."""


class RankRollup:
    """Collects the ranked taxa of images at each rank of `taxa`; images come in parts, and each part adds to the results."""

    def __init__(self, taxa: Mapping[str, RankTaxa], scale: float) -> None:
        self.taxa = dict(taxa)
        self.scale = scale
        self._parts: dict[str, list[Ranked]] = {rank: [] for rank in taxa}
        self._steps = _plan(self.taxa)

    def add(self, similarities: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """Rank the taxa for images with `similarities` [N, C], whose true classes are `labels` [N]."""
        size = max(1, _CACHED_NUMBERS // similarities.shape[1])
        for first in range(0, len(similarities), size):
            part = slice(first, first + size)
            for rank, found in self._rank(similarities[part], labels[part]).items():
                self._parts[rank].append(found)

    def ranked(self, rank: str) -> Ranked:
        """The taxa of `rank` for all images added so far, in their order."""
        return Ranked(*(np.concatenate([getattr(part, one.name) for part in self._parts[rank]]) for one in fields(Ranked)))

    def _rank(self, similarities: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, Ranked]:
        """By weights in float32; images for which these may be too coarse are ranked again in float64."""
        greatest = similarities.max(axis=1, keepdims=True)
        found = self._rank_by(similarities, (similarities - greatest) * np.float32(self.scale), labels)
        coarse = (similarities.min(axis=1) - greatest[:, 0]) * self.scale < _LEAST_EXPONENT
        for step in self._steps:
            if not step.is_of_classes:
                coarse |= found[step.rank].num_tied > 1
        if coarse.any():
            exponents = (similarities[coarse].astype(np.float64) - greatest[coarse]) * self.scale
            exact = self._rank_by(similarities[coarse], exponents, labels[coarse])
            for rank, other in exact.items():
                for one in fields(Ranked):
                    getattr(found[rank], one.name)[coarse] = getattr(other, one.name)
        return found

    def _rank_by(self, similarities: NDArray[np.float32], exponents: NDArray[Any], labels: NDArray[np.int64]) -> dict[str, Ranked]:
        """`exponents` [N, C] are overwritten."""
        weights: NDArray[Any] = np.exp(exponents, out=exponents)
        total = weights.sum(axis=1, dtype=np.float64, keepdims=True)
        found: dict[str, Ranked] = {}
        for step in self._steps:
            truth = self.taxa[step.rank].of_species[labels]
            if step.is_of_classes:
                ranked = rank_answers(similarities, truth)
                greatest = similarities.max(axis=1, keepdims=True)
                top, true = (
                    np.exp((some.astype(np.float64) - greatest) * self.scale) for some in (ranked.top_scores, ranked.truth_score[:, None])
                )
                true = true[:, 0]
            else:
                weights = weights if step.number is None else sum_segments(weights, step.number, step.num_taxa)
                ranked = rank_answers(weights, truth)
                top, true = ranked.top_scores, ranked.truth_score
            found[step.rank] = replace(ranked, top_scores=top / total, truth_score=true / total[:, 0])
        return found


def sum_segments(weights: NDArray[Any], number: NDArray[np.int64], num_taxa: int) -> NDArray[np.float64]:
    """float64 [N, T]: the sums of `weights` [N, C] over the classes of each taxon, `number` [C] being the taxon of each class.

    It is the product of the weights with a sparse matrix [C, T] that has a single 1 in each row.
    """
    num_rows = len(weights)
    places = (number + num_taxa * np.arange(num_rows)[:, None]).ravel() if num_rows > 1 else number
    sums: NDArray[Any] = np.bincount(places, weights.ravel(), num_rows * num_taxa)
    return sums.reshape(num_rows, num_taxa)


def _plan(taxa: Mapping[str, RankTaxa]) -> list[_Step]:
    steps: list[_Step] = []
    firsts: NDArray[np.int64] | None = None
    is_of_classes = True
    for rank in sorted(taxa, key=RANKS.index, reverse=True):
        one = taxa[rank]
        number = one.of_species if firsts is None else one.of_species[firsts]
        is_new = len(number) > len(one.starts)
        is_of_classes &= not is_new
        steps.append(_Step(rank, number if is_new else None, len(one.starts), is_of_classes))
        firsts = one.starts
    return steps
