"""Positions of the members of each sample in its tar, from the index files of a release, or from the headers of the tars."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.digests import digest_bytes
from bioclip.errors import ShardError, TrainingError
from bioclip.releases import Release
from bioclip.selection.splits import TRAIN
from bioclip.storage import Storage
from bioclip.tars import scan_members

TRAIN_SMALL = "train_small"
"""Name of the subset of `train` that a release with `release.train_small_fraction` lists; usable as a split."""
IMAGE_MEMBERS = ("jpg", "jpeg", "png", "webp")
"""Members that may hold a sample's image, in order of preference; a release has only `jpg`."""
_COLUMNS = ["record_id", "member", "offset", "num_bytes"]
_PLACES = pa.schema([("record_id", pa.string()), ("member", pa.string()), ("offset", pa.int64()), ("num_bytes", pa.int64())])
"""The columns of SHARD_INDEX_SCHEMA that are read: a row per member, in the order of the tar."""
_READS_AT_ONCE = 8


def split_shards(release: Release, split: str) -> tuple[list[Mapping[str, Any]], dict[str, list[str]] | None]:
    """The manifest's entries of the shards of a split, and for `train_small` the record ids of each shard.

    Raises TrainingError for a `train_small` that the release does not have.
    """
    chosen = _read_train_small(release) if split == TRAIN_SMALL else None
    shards: list[Mapping[str, Any]] = release.manifest["splits"][TRAIN if chosen else split]["shards"]
    return [shard for shard in shards if not chosen or shard["name"] in chosen], chosen


def read_split_places(
    release: Release, shards: Sequence[Mapping[str, Any]], chosen: Mapping[str, Collection[str]] | None
) -> Iterator[pa.Table]:
    """_PLACES of each shard, several being read at once; only those of the record ids `chosen` of a shard, if given.

    Raises ShardError when a tar is cut short or its number of samples differs from the manifest's.
    """

    def read(shard: Mapping[str, Any]) -> pa.Table:
        table = _read_places(release, shard)
        return _select(table, chosen[shard["name"]], shard["name"]) if chosen else table

    with ThreadPoolExecutor(_READS_AT_ONCE, thread_name_prefix="index") as pool:
        for first in range(0, len(shards), _READS_AT_ONCE):
            yield from pool.map(read, shards[first : first + _READS_AT_ONCE])


def scan_complete_places(storage: Storage, names: Sequence[str], text: str) -> Iterator[tuple[pa.Table, int]]:
    """_PLACES of the samples with an image and `text`.txt in each tar, and the number of its other samples. Every header is read."""
    with ThreadPoolExecutor(_READS_AT_ONCE, thread_name_prefix="index") as pool:
        for first in range(0, len(names), _READS_AT_ONCE):
            for table in pool.map(lambda name: _scan_places(storage, name), names[first : first + _READS_AT_ONCE]):
                yield _select_complete(table, text)


def _select_complete(table: pa.Table, text: str) -> tuple[pa.Table, int]:
    """The members of samples with an image and `text`, and the number of the other samples."""
    runs = pc.run_end_encode(table["record_id"].combine_chunks())
    sample = np.repeat(np.arange(len(runs.values)), np.diff(runs.run_ends.to_numpy(), prepend=0))
    members = table["member"].combine_chunks()
    is_complete = np.ones(len(runs.values), dtype=bool)
    for wanted in (IMAGE_MEMBERS, (text,)):
        found = pc.is_in(members, value_set=pa.array(wanted)).to_numpy(zero_copy_only=False)
        is_complete &= np.bincount(sample, weights=found, minlength=len(is_complete)) > 0
    return table.filter(pa.array(is_complete[sample])), int((~is_complete).sum())


def _read_places(release: Release, shard: Mapping[str, Any]) -> pa.Table:
    """_PLACES of a shard, from its index file if the release has one."""
    name, uri = shard["name"], release.storage.uri(shard["name"])
    if layout.shard_index(name) in release.manifest.get("files", {}):
        if (num_bytes := release.storage.num_bytes(name)) != shard["num_bytes"]:
            raise ShardError(
                f"shard {uri!r} has {num_bytes} bytes, its manifest says {shard['num_bytes']}; it was modified or truncated: "
                "remove it and build the release again."
            )
        table = pq.read_table(pa.BufferReader(_read_sealed(release, layout.shard_index(name))), columns=_COLUMNS, use_threads=False)
    else:
        table = _scan_places(release.storage, name)
    num_samples = len(pc.run_end_encode(table["record_id"].combine_chunks()).values)
    if num_samples != shard["num_samples"]:
        raise ShardError(
            f"shard {uri!r} holds {num_samples} samples, its manifest says {shard['num_samples']}; "
            "it was modified or truncated: remove it and build the release again."
        )
    return table


def _scan_places(storage: Storage, name: str) -> pa.Table:
    """_PLACES of a tar, from its headers."""
    with storage.reader(name) as stream:
        found = list(scan_members(stream, storage.uri(name)))
    return pa.table([pa.array(column) for column in zip(*found, strict=True)] or [[]] * len(_PLACES), names=_PLACES.names).cast(_PLACES)


def _read_train_small(release: Release) -> dict[str, list[str]]:
    """Shard -> record ids of `train_small`."""
    if layout.TRAIN_SMALL not in release.manifest.get("files", {}):
        raise TrainingError(
            f"training.split is {TRAIN_SMALL!r}, but release {release.version} has no such subset; set release.train_small_fraction "
            f"and build the release again, or set training.split to {TRAIN!r}."
        )
    rows = pq.read_table(pa.BufferReader(_read_sealed(release, layout.TRAIN_SMALL))).to_pylist()
    chosen: dict[str, list[str]] = {}
    for row in rows:
        chosen.setdefault(row["shard"], []).append(row["record_id"])
    if not chosen:
        raise TrainingError(
            f"{TRAIN_SMALL!r} of release {release.version} is empty; raise release.train_small_fraction and build the release again."
        )
    return chosen


def _select(table: pa.Table, record_ids: Collection[str], shard: str) -> pa.Table:
    found = table.filter(pc.is_in(table["record_id"], value_set=pa.array(sorted(record_ids), pa.string())))
    if num_missing := len(record_ids) - len(pc.unique(found["record_id"])):
        raise ShardError(
            f"{num_missing} samples that {layout.TRAIN_SMALL} lists in {shard!r} are missing; "
            "check the release with `treeoflife release verify --deep`."
        )
    return found


def _read_sealed(release: Release, name: str) -> bytes:
    """Content of a file whose digest the manifest states."""
    data = release.storage.read_bytes(name)
    if digest_bytes(data) != release.manifest["files"][name]["sha256"]:
        raise ShardError(f"{release.storage.uri(name)!r} differs from its digest in the manifest; remove it and build the release again.")
    return data
