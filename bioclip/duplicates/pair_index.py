"""Pairs of hashes in the workspace: what jobs of a distributed search found, and the index that the next search starts from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.accounting import Counts
from bioclip.digests import digest_value
from bioclip.duplicates.hamming.blocks import HashArray
from bioclip.duplicates.hamming.bucket_pairs import BucketPairs, merged
from bioclip.duplicates.hamming.self_search import (
    HashPairs,
    PairIndex,
    hash_pairs,
    near_pairs,
    near_pairs_between,
    num_search_parts,
    pair_index,
    search_part,
)
from bioclip.duplicates.image_table import read_hashes
from bioclip.images.hashing import HASH_VERSION
from bioclip.partitions import PartitionJob, PartitionManifest, PartitionWriter, read_manifest, read_stage, run_partition
from bioclip.settings import DuplicateSettings, PipelineSettings
from bioclip.storage import Storage

SEARCH_STAGE = "duplicate-pairs"
_VERSION = 1
_RADIUS_KEY = b"radius_bits"
_LEFT_OUT = "comparisons_left_out"
_ROW_GROUP_ROWS = 1_000_000


def plan_search(storage: Storage, settings: PipelineSettings) -> list[PartitionJob]:
    """Jobs that search a share of the tables each; none up to `duplicates.distribute_above` images, which one job searches as it groups
    them, nor where the index of an earlier search knows half of the images."""
    images, duplicates = read_stage(storage, "images"), settings.duplicates
    num_images = images.counts.written
    if num_images <= duplicates.distribute_above or 2 * _num_indexed(storage) >= num_images:
        return []
    num_parts = min(duplicates.search_jobs, num_search_parts(num_images, duplicates.radius))
    return [
        PartitionJob(
            stage=SEARCH_STAGE,
            name=layout.duplicate_search_part(part, num_parts),
            directory=layout.DUPLICATE_SEARCH_DIR,
            version=_VERSION,
            inputs={"images": images.digest},
            settings=digest_value([duplicates.radius, duplicates.crowd_size, duplicates.min_entropy_bits, HASH_VERSION]),
            work=search_tables,
            storage=storage,
            arguments={"part": part, "num_parts": num_parts, "settings": duplicates},
        )
        for part in range(num_parts)
    ]


def search_tables(storage: Storage, writer: PartitionWriter, *, part: int, num_parts: int, settings: DuplicateSettings) -> Counts:
    """Write the pairs that a share of the tables finds, as hashes, and the hashes whose pairs may be incomplete."""
    unique = np.unique(read_hashes(storage, read_stage(storage, "images"), settings.min_entropy_bits))
    found = search_part(unique, settings.radius, settings.crowd_size, part=part, num_parts=num_parts)
    first, second = np.divmod(np.sort(found.codes), max(1, len(unique)))
    name = _part_prefix(part, num_parts)
    writer.write_table(f"{name}-pairs{layout.PARQUET}", _hash_table(first=unique[first], second=unique[second]), _ROW_GROUP_ROWS)
    writer.write_table(f"{name}-crowded{layout.PARQUET}", _hash_table(phash=unique[found.crowded]), _ROW_GROUP_ROWS)
    return Counts(len(first), len(first), {}, {_LEFT_OUT: found.num_left_out})


def _part_prefix(part: int, num_parts: int) -> str:
    return f"{layout.DUPLICATE_SEARCH_DIR}/{layout.duplicate_search_part(part, num_parts)}"


def find_pairs(storage: Storage, hashes: HashArray, jobs: list[PartitionJob], settings: DuplicateSettings, manifest_name: str) -> HashPairs:
    """`near_pairs` of the hashes: out of the jobs of a distributed search (those that are not done are done here), from the index that the
    stage's earlier run left where there is one, or by a search of all."""
    if jobs:
        return _pairs_of_jobs(storage, hashes, [run_partition(job).manifest for job in jobs])
    index = read_index(storage, manifest_name)
    if index is None:
        return near_pairs(hashes, settings.radius, settings.crowd_size)
    return near_pairs_between(index, hashes, settings.radius, settings.crowd_size)


def _pairs_of_jobs(storage: Storage, hashes: HashArray, manifests: list[PartitionManifest]) -> HashPairs:
    unique, inverse = np.unique(hashes, return_inverse=True)
    found = []
    for manifest in manifests:
        crowded, pairs = (_read(storage, output.name) for output in manifest.outputs)
        first, second = (np.searchsorted(unique, pairs[name].to_numpy()) for name in ("first", "second"))
        codes = first * len(unique) + second
        found.append(BucketPairs(codes, np.searchsorted(unique, crowded["phash"].to_numpy()), manifest.counts.notes.get(_LEFT_OUT, 0)))
    return hash_pairs(unique, inverse, merged(found))


def write_index(writer: PartitionWriter, pairs: HashPairs, radius: int) -> None:
    """Write what the next search starts from; nothing when a crowd left the pairs incomplete."""
    index = pair_index(pairs, radius)
    if index is None:
        return
    writer.write_table(layout.INDEXED_HASHES, _hash_table(phash=index.hashes), _ROW_GROUP_ROWS)
    table = _hash_table(first=index.first, second=index.second).replace_schema_metadata({_RADIUS_KEY: str(radius)})
    writer.write_table(layout.INDEXED_PAIRS, table, _ROW_GROUP_ROWS)


def read_index(storage: Storage, manifest_name: str) -> PairIndex | None:
    """The index that belongs to the stage's manifest, to the byte; None when there is none or a run was killed while it wrote another."""
    manifest = read_manifest(storage, manifest_name)
    digests = {output.name: output.sha256 for output in manifest.outputs} if manifest is not None else {}
    for name in (layout.INDEXED_HASHES, layout.INDEXED_PAIRS):
        if name not in digests or not storage.exists(name) or storage.digest(name)[0] != digests[name]:
            return None
    pairs = _read(storage, layout.INDEXED_PAIRS)
    first, second = (pairs[name].to_numpy() for name in ("first", "second"))
    return PairIndex(_read(storage, layout.INDEXED_HASHES)["phash"].to_numpy(), first, second, int(pairs.schema.metadata[_RADIUS_KEY]))


def _num_indexed(storage: Storage) -> int:
    if not storage.exists(layout.INDEXED_HASHES):
        return 0
    with storage.reader(layout.INDEXED_HASHES) as stream:
        return int(pq.read_metadata(stream).num_rows)


def _read(storage: Storage, name: str) -> Any:
    with storage.reader(name) as stream:
        return pq.read_table(stream)


def _hash_table(**columns: HashArray) -> pa.Table:
    return pa.table({name: pa.array(values, pa.uint64()) for name, values in columns.items()})
