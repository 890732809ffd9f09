"""Whether the image features follow the taxonomy, without texts.

`silhouette` (Rousseeuw 1987) at each rank: for an image, a is its mean distance to the images of its taxon, b that to the nearest other
taxon, and the value (b - a) / max(a, b); images that are alone in their taxon are left out. `taxonomic_correlation` is Spearman's
correlation between the distances of species' centroids and their taxonomic distances, over all pairs of species (the statistic of Mantel's
test, 1967). Distances are 1 - cosine. The silhouette takes at most 2,000 images and the correlation at most 200 species, by a hash. N
images, C classes, D embedding width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.hashed_choice import choose_some
from bioclip.evaluation.statistics import Measurement, Proportion, Statistic
from bioclip.evaluation.tasks.task import TaskInput, TaskResult
from bioclip.evaluation.taxonomic_distance import taxon_tree
from bioclip.records import RANKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_IMAGES, MAX_SPECIES = 2_000, 200


@dataclass(frozen=True)
class CentroidCorrelation(Statistic):
    """Spearman's correlation between distances of centroids and `distances` [K, K] of K species; `species` [N] is the number of each
    image's species, -1 for images that are left out. A species that is drawn twice weighs twice; it is not compared with itself."""

    features: NDArray[np.float32]
    species: NDArray[np.int64]
    distances: NDArray[np.int64]

    @property
    def takes_part(self) -> NDArray[np.bool_]:
        """See Statistic."""
        return self.species >= 0

    def __call__(self, counts: NDArray[np.float64], units: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """See Statistic."""
        chosen = np.flatnonzero(self.takes_part)
        members = np.eye(len(self.distances))[self.species[chosen]]
        sizes = counts[:, chosen] @ members
        drawn = np.zeros_like(sizes) if units is None else _draws(counts[:, chosen], members)
        weights = (sizes > 0).astype(np.float64) if units is None else np.where(sizes > 0, np.maximum(drawn, 1), 0)
        images = self.features[chosen].astype(np.float64)
        return np.array(
            [self._correlate((members * row[:, None]).T @ images, w) for row, w in zip(counts[:, chosen], weights, strict=True)]
        )

    def _correlate(self, sums: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
        from scipy.stats import rankdata

        there = np.flatnonzero(weights)
        first, second = np.triu_indices(len(there), 1)
        if len(first) < 2:
            return float("nan")
        lengths = np.maximum(np.linalg.norm(sums[there], axis=1, keepdims=True), np.finfo(np.float64).tiny)
        cosines = (sums[there] / lengths) @ (sums[there] / lengths).T
        pair_weights = weights[there][first] * weights[there][second]
        return _weighted_correlation(
            rankdata(-cosines[first, second]), rankdata(self.distances[np.ix_(there, there)][first, second]), pair_weights
        )


def run(given: TaskInput) -> TaskResult:
    """Every rank of the settings with two taxa or more, and the correlation; it is left out
    where all species are equally far apart. Fewer than two species give a note."""
    present = np.unique(given.labels)
    if len(present) < 2:
        return TaskResult([], notes={"skipped": "the images are of fewer than two classes"})
    tree = taxon_tree(given.benchmark.classes)
    images = choose_some(given.item_ids, MAX_IMAGES, given.settings.seed)
    species = present[
        choose_some([" ".join(given.benchmark.classes[one].lineage) for one in present.tolist()], MAX_SPECIES, given.settings.seed)
    ]
    results = []
    for rank in given.settings.ranks:
        taxa = tree.taxa[RANKS.index(rank)]
        groups = np.where(taxa.is_named[taxa.of_species[given.labels[images]]], taxa.of_species[given.labels[images]], -1)
        values = silhouettes(given.images[images], groups)
        taking_part = np.zeros(len(given.labels))
        taking_part[images] = np.isfinite(values)
        spread = np.zeros(len(given.labels))
        spread[images] = np.nan_to_num(values)
        if taking_part.any():
            num = len(np.unique(groups[groups >= 0]))
            results.append(
                Measurement("embedding_structure", {"rank": rank}, "silhouette", Proportion(spread, taking_part), 0.0, None, num)
            )
    distances = tree.distances(species[:, None], species[None, :])
    if len(np.unique(distances[np.triu_indices(len(species), 1)])) > 1:
        number = np.full(len(given.benchmark.classes), -1)
        number[species] = np.arange(len(species))
        statistic = CentroidCorrelation(given.images, number[given.labels], distances)
        results.append(Measurement("embedding_structure", {}, "taxonomic_correlation", statistic, 0.0, None, len(species)))
    return TaskResult(results)


def silhouettes(features: NDArray[np.float32], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """[N] silhouettes of `features` [N, D] of unit length in `groups` [N]; NaN for group -1, for an image alone in its group, and where
    there is one group."""
    found = np.full(len(groups), np.nan)
    chosen = np.flatnonzero(groups >= 0)
    names, of_image, sizes = np.unique(groups[chosen], return_inverse=True, return_counts=True)
    if len(names) < 2:
        return found
    images = features[chosen].astype(np.float64)
    sums = np.zeros((len(names), images.shape[1]))
    np.add.at(sums, of_image, images)
    totals = sizes - images @ sums.T
    own = totals[np.arange(len(chosen)), of_image] / np.maximum(sizes[of_image] - 1, 1)
    means = totals / sizes
    means[np.arange(len(chosen)), of_image] = np.inf
    nearest = means.min(axis=1)
    values = (nearest - own) / np.maximum(np.maximum(nearest, own), np.finfo(np.float64).tiny)
    found[chosen] = np.where(sizes[of_image] > 1, values, np.nan)
    return found


def _weighted_correlation(one: NDArray[np.float64], other: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    total = weights.sum()
    first, second = one - (weights @ one) / total, other - (weights @ other) / total
    spread = np.sqrt((weights @ first**2) * (weights @ second**2))
    return float((weights * first) @ second / spread) if spread > 0 else float("nan")


def _draws(counts: NDArray[np.float64], members: NDArray[np.float64]) -> NDArray[np.float64]:
    """[R, K] how often each species was drawn: the greatest count of its images."""
    return np.stack([(counts * members[:, species]).max(axis=1) for species in range(members.shape[1])], axis=1)
