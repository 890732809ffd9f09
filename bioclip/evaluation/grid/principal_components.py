"""A map of the features of a benchmark's images: their first two principal components. N images, D embedding width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from bioclip.digests import digest_bytes
from bioclip.encoding.embedding_table import read_embedding_table
from bioclip.encoding.encoder import EncodingOptions, features_key
from bioclip.encoding.feature_cache import FeatureCache
from bioclip.evaluation.hashed_choice import choose_some
from bioclip.records import RANKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioclip.evaluation.benchmark import Benchmark
    from bioclip.evaluation.grid.cells import CellResult
    from bioclip.settings import EvaluationSettings
    from bioclip.storage import Storage

MAX_IMAGES = 1000
MIN_IMAGES = 3
_MIN_GROUPS = 2
COMPONENTS_SCHEMA = pa.schema(
    [
        pa.field("model", pa.string(), nullable=False),
        pa.field("benchmark", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("group_rank", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),
        pa.field("x", pa.float64(), nullable=False),
        pa.field("y", pa.float64(), nullable=False),
        pa.field("explained", pa.float64(), nullable=False),
    ]
)
"""comparisons/<id>/principal-components.parquet: at most 1,000 images of each model and benchmark, chosen by a hash of their ids, on the
first two principal components of their features; `explained` is the share of the variance on both. `group` is the image's taxon at
`group_rank`, the highest rank at which the images differ, or its class where the benchmark states no lineages."""


def map_results(results: Sequence[CellResult], settings: EvaluationSettings, storage: Storage) -> pa.Table:
    """COMPONENTS_SCHEMA rows of all cells, from stored features; images whose features are not stored are left out, none is encoded."""
    rows: list[dict[str, Any]] = []
    for result in results:
        for benchmark in result.benchmarks if result.info is not None else ():
            rows += _map_benchmark(result, benchmark, settings, storage)
    return pa.Table.from_pylist(rows, schema=COMPONENTS_SCHEMA)


def _map_benchmark(result: CellResult, benchmark: Benchmark, settings: EvaluationSettings, storage: Storage) -> list[dict[str, Any]]:
    keys = list(benchmark.labels)
    chosen = [keys[one] for one in choose_some(keys, MAX_IMAGES, settings.seed)]
    ids, features = _stored_features(result, benchmark, chosen, settings, storage)
    if len(ids) < MIN_IMAGES:
        return []
    places, explained = principal_plane(features)
    rank, groups = _groups(benchmark, ids)
    common = {"model": result.model.label, "benchmark": benchmark.name, "group_rank": rank, "explained": explained}
    return [
        common | {"item_id": key, "group": group, "x": float(x), "y": float(y)}
        for key, group, (x, y) in zip(ids, groups, places, strict=True)
    ]


def principal_plane(features: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
    """(coordinates [N, 2], share of the variance) of features [N, D] on their first two principal components.

    Each axis has the sign that makes its greatest absolute coordinate positive, so the result does not depend on the solver.
    """
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(features), 2))
    kept = min(2, len(sizes))
    places[:, :kept] = left[:, :kept] * sizes[:kept]
    greatest = places[np.abs(places).argmax(axis=0), [0, 1]]
    total = float((sizes**2).sum())
    return places * np.where(greatest < 0, -1, 1), float((sizes[:2] ** 2).sum() / total) if total > 0 else 0.0


def _stored_features(
    result: CellResult, benchmark: Benchmark, chosen: Sequence[str], settings: EvaluationSettings, storage: Storage
) -> tuple[list[str], NDArray[np.float32]]:
    images = benchmark.images.select(chosen).iter_images()
    if result.model.ref.kind == "embeddings":
        encoded = read_embedding_table(result.model.ref.path).encode_images(images)
        return list(encoded.ids), encoded.features
    options = EncodingOptions(settings.preprocessing, settings.precision)
    cache = FeatureCache(storage, features_key(result.model.identity, options), settings.stored_features)
    digests = {key: digest_bytes(data) for key, data in images}
    stored = cache.read(list(digests.values()))
    ids = [key for key, digest in digests.items() if digest in stored]
    return ids, np.stack([stored[digests[key]] for key in ids]) if ids else np.empty((0, 1), np.float32)


def _groups(benchmark: Benchmark, ids: Sequence[str]) -> tuple[str, list[str]]:
    lineages = [benchmark.classes[benchmark.labels[key]].lineage for key in ids]
    for depth, rank in enumerate(RANKS):
        names = [lineage[depth] for lineage in lineages]
        if len(set(names) - {""}) >= _MIN_GROUPS:
            return rank if rank != RANKS[-1] else "class", names
    return "class", [lineage[-1] for lineage in lineages]
