"""A map of the images: their features in two dimensions by t-SNE (van der Maaten and Hinton 2008), with the taxon of each at every rank.

The coordinates of at most 2,000 images, chosen by a hash, are stored beside the scores as `embedding-map.parquet`. The features are of
unit length, so their Euclidean order is that of the cosine. The start is the first two principal components, the perplexity 30, less for
fewer than 91 images; the seed is that of the evaluation, and one thread is used, so the coordinates of the same features are the same.
scikit-learn computes them.

Distances between groups on such a map have no meaning. `nearest_taxon` states how much of the neighbourhoods it keeps: the share of the
images whose nearest image is of their taxon at a rank, in `space` `map` and in `features`. Ranks with one taxon, and images without a
name at the rank, are left out. N images, D embedding width."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from bioclip import layout
from bioclip.errors import EvaluationError
from bioclip.evaluation.hashed_choice import choose_some
from bioclip.evaluation.rank_rollup import RankTaxa, taxa_at
from bioclip.evaluation.statistics import Measurement, Proportion
from bioclip.evaluation.tasks.task import TaskInput, TaskResult
from bioclip.records import RANKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_IMAGES, LEAST_IMAGES = 2_000, 4
_PERPLEXITY = 30.0
_SAME_FEATURES = 1e-6
EMBEDDING_MAP_SCHEMA = pa.schema(
    [
        pa.field("benchmark", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("x", pa.float32(), nullable=False),
        pa.field("y", pa.float32(), nullable=False),
        *(pa.field(rank, pa.string()) for rank in RANKS),
    ]
)
"""evaluations/<id>/embedding-map.parquet, one row per image of the map; a rank is null where the lineage is not filled."""


def run(given: TaskInput) -> TaskResult:
    """The map and what it keeps. Fewer than four images, and images of one feature, give a note; raises EvaluationError without
    scikit-learn."""
    chosen = choose_some(given.item_ids, MAX_IMAGES, given.settings.seed)
    features = given.images[chosen]
    if len(chosen) < LEAST_IMAGES or np.ptp(features, axis=0).max() < _SAME_FEATURES:
        return TaskResult([], notes={"skipped": "a map needs at least four images with different features"})
    places = map_features(features, given.settings.seed)
    results = []
    for rank in given.settings.ranks:
        taxa = taxa_at(given.benchmark.classes, rank)
        for space, points in (("map", places), ("features", features)):
            results += _measure_nearest(given, chosen, points, taxa, rank, space)
    table = _tabulate(given, chosen, places)
    return TaskResult(results, notes={"images": len(chosen)}, tables={layout.SCORES_MAP: table})


def map_features(features: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """[N, 2] coordinates of `features` [N, D]; raises EvaluationError without scikit-learn."""
    try:
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise EvaluationError(
            "task 'embedding_map' needs scikit-learn, which is not installed; run `pip install 'bioclip-pipeline[train]'` or leave the "
            "task out of evaluation.tasks."
        ) from None
    perplexity = min(_PERPLEXITY, (len(features) - 1) / 3)
    with threadpool_limits(1):
        found: NDArray[np.float32] = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(features)
    return found


def nearest_images(points: NDArray[np.float32]) -> NDArray[np.int64]:
    """[N] the image with the least Euclidean distance to each of `points` [N, D], the first of several."""
    exact = points.astype(np.float64)
    squares = (exact**2).sum(axis=1)
    distances = squares[:, None] + squares - 2 * exact @ exact.T
    np.fill_diagonal(distances, np.inf)
    nearest: NDArray[np.int64] = distances.argmin(axis=1)
    return nearest


def _measure_nearest(
    given: TaskInput, chosen: NDArray[np.int64], points: NDArray[np.float32], taxa: RankTaxa, rank: str, space: str
) -> list[Measurement]:
    of_image = taxa.of_species[given.labels[chosen]]
    named = np.flatnonzero(taxa.is_named[of_image])
    present, numbers, sizes = np.unique(of_image[named], return_inverse=True, return_counts=True)
    if len(present) < 2:
        return []
    hits, asked = np.zeros(len(given.labels)), np.zeros(len(given.labels))
    hits[chosen[named]] = numbers[nearest_images(points[named])] == numbers
    asked[chosen[named]] = 1
    chance = float(((sizes - 1) * sizes).sum() / (len(named) * (len(named) - 1)))
    statistic = Proportion(hits, asked)
    return [Measurement("embedding_map", {"rank": rank, "space": space}, "nearest_taxon", statistic, chance, None, len(present))]


def _tabulate(given: TaskInput, chosen: NDArray[np.int64], places: NDArray[np.float32]) -> pa.Table:
    lineages = [given.benchmark.classes[one].lineage for one in given.labels[chosen].tolist()]
    columns = [
        pa.array([given.benchmark.name] * len(chosen), pa.string()),
        pa.array([given.item_ids[one] for one in chosen.tolist()], pa.string()),
        pa.array(places[:, 0].astype(np.float32)),
        pa.array(places[:, 1].astype(np.float32)),
        *(pa.array([lineage[depth] or None for lineage in lineages], pa.string()) for depth in range(len(RANKS))),
    ]
    return pa.Table.from_arrays(columns, schema=EMBEDDING_MAP_SCHEMA)
