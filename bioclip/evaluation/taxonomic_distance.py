"""The distance between two classes: the number of ranks, of the seven from species to kingdom, below their lowest common ancestor.

It is 0 for one species, 1 for two of a genus, and 7 for two kingdoms; the literature calls it the height of the lowest common ancestor
(Bertinetto et al. 2020, "Making better mistakes"). A rank that a lineage leaves empty belongs to the taxon above. C classes, T taxa of a
rank, N images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.rank_rollup import RankTaxa, sum_segments, taxa_at
from bioclip.records import RANKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioclip.evaluation.benchmark import SpeciesClass


@dataclass(frozen=True)
class TaxonTree:
    """The taxa of sorted classes at each rank, kingdom first."""

    taxa: tuple[RankTaxa, ...]

    @property
    def numbers(self) -> NDArray[np.int64]:
        """[7, C] the taxon of each class at each rank."""
        return np.stack([one.of_species for one in self.taxa])

    def distances(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
        """Distance between the classes `first` and `second`, which are broadcast together."""
        shape = np.broadcast_shapes(first.shape, second.shape)
        total = np.zeros(shape, dtype=np.int64)
        for one in self.taxa:
            total += one.of_species[first] != one.of_species[second]
        return total

    def mean_distances(self, classes: NDArray[np.int64]) -> NDArray[np.float64]:
        """[N] mean distance from each of `classes` [N] to a class drawn at random."""
        shares = [np.bincount(one.of_species)[one.of_species[classes]] / len(one.of_species) for one in self.taxa]
        found: NDArray[np.float64] = len(self.taxa) - np.sum(shares, axis=0)
        return found

    def summed(self, probabilities: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """[N, T] probabilities of the taxa of each rank, kingdom first, from those of the classes [N, C]."""
        return [sum_segments(probabilities, one.of_species, len(one.starts)) for one in self.taxa]


def taxon_tree(classes: Sequence[SpeciesClass]) -> TaxonTree:
    """The tree of sorted `classes`."""
    return TaxonTree(tuple(taxa_at(classes, rank) for rank in RANKS))
