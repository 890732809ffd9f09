"""Random access to the samples of a split, by the position of each in its tar.

Positions come from the index files of a release, or from the headers of its tars where it has none. Memory holds three numbers per
sample; one range request then reads the whole sample, from a folder or from S3.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.digests import digest_bytes
from bioclip.errors import ShardError, TrainingError
from bioclip.selection.splits import TRAIN
from bioclip.storage import Storage
from bioclip.tars import BLOCK_BYTES, members_in, padded, sample_bytes, scan_members

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioclip.releases import Release

TRAIN_SMALL = "train_small"
"""Name of the subset of `train` that a release with `release.train_small_fraction` lists; usable as a split."""
_COLUMNS = ["record_id", "member", "offset", "num_bytes"]
_PLACES = pa.schema([("record_id", pa.string()), ("member", pa.string()), ("offset", pa.int64()), ("num_bytes", pa.int64())])
"""The columns of SHARD_INDEX_SCHEMA that are read: a row per member, in the order of the tar."""
_READS_AT_ONCE = 8
IMAGE_MEMBERS = ("jpg", "jpeg", "png", "webp")
"""Members that may hold a sample's image, in order of preference; a release has only `jpg`."""


@dataclass(frozen=True)
class SampleIndex:
    """Samples of some tars, in the order of the tars.

    `shard` [N] indexes `shards`, `start` and `stop` [N] are byte offsets in that tar; `identity` [N] is the first 64 bits of the
    SHA-256 of each key, which orders samples independently of their shards. `members` counts the samples that hold each member.
    """

    storage: Storage
    shards: tuple[str, ...]
    keys: tuple[str, ...]
    shard: NDArray[np.int32]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    identity: NDArray[np.uint64]
    members: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, position: int) -> dict[str, bytes]:
        """Members of the sample at `position`, by name without key: `jpg`, `json`, `sci.txt` and so on.

        Raises ShardError if the tar has other bytes there.
        """
        shard = self.shards[self.shard[position]]
        name, start, stop = self.storage.uri(shard), int(self.start[position]), int(self.stop[position])
        data = self.storage.read_range(shard, start, stop)
        own = [member for member in members_in(data, name) if member.key == self.keys[position]]
        found = {member.extension: data[member.offset : member.offset + member.num_bytes] for member in own}
        if not found or sample_bytes([len(content) for content in found.values()]) != stop - start:
            raise ShardError(
                f"shard {name!r} does not hold {self.keys[position]!r} in bytes {start} to {stop}, where its index says; "
                "check the release with `treeoflife release verify --deep`."
            )
        return found


def index_split(release: Release, split: str) -> SampleIndex:
    """Index of all tars of `split`, or for `train_small` of that part of `train`.

    Raises ShardError when a tar is cut short or its number of samples differs from the manifest's, and TrainingError for a `train_small`
    that the release does not have.
    """
    chosen = _read_train_small(release) if split == TRAIN_SMALL else None
    shards = release.manifest["splits"][TRAIN if chosen else split]["shards"]
    if chosen:
        shards = [shard for shard in shards if shard["name"] in chosen]
    with ThreadPoolExecutor(_READS_AT_ONCE, thread_name_prefix="index") as pool:
        tables = list(pool.map(partial(_read_places, release), shards))
    if chosen:
        tables = [_select(table, chosen[shard["name"]], shard["name"]) for table, shard in zip(tables, shards, strict=True)]
    return _make_index(release.storage, tuple(shard["name"] for shard in shards), tables)


def index_tars(storage: Storage, names: Sequence[str], text: str) -> tuple[SampleIndex, int]:
    """Index of tars that belong to no release, and how many of their samples are left out because they lack an image or `text`.txt.

    Every header is read. Raises TrainingError when a tar is cut short or is not a tar of plain files.
    """
    with ThreadPoolExecutor(_READS_AT_ONCE, thread_name_prefix="index") as pool:
        tables = list(pool.map(partial(_scan_places, storage), names))
    complete = [_select_complete(table, text) for table in tables]
    index = _make_index(storage, tuple(names), [table for table, _ in complete])
    return index, sum(num_incomplete for _, num_incomplete in complete)


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


def _make_index(storage: Storage, shards: tuple[str, ...], tables: list[pa.Table]) -> SampleIndex:
    keys: list[str] = []
    bounds: list[NDArray[np.int64]] = []
    members: Counter[str] = Counter()
    for number, table in enumerate(tables):
        runs = pc.run_end_encode(table["record_id"].combine_chunks())
        keys += runs.values.to_pylist()
        stops = runs.run_ends.to_numpy().astype(np.int64)
        offsets, sizes = (table[name].to_numpy() for name in ("offset", "num_bytes"))
        first = offsets[np.concatenate([[0], stops[:-1]])] - BLOCK_BYTES if len(stops) else offsets
        last = offsets[stops - 1] + padded(sizes[stops - 1])
        bounds.append(np.stack([np.full(len(stops), number), first, last]))
        members.update({str(row["values"]): int(row["counts"]) for row in table["member"].value_counts().to_pylist()})
    places = np.concatenate(bounds, axis=1) if bounds else np.zeros((3, 0), dtype=np.int64)
    start, stop = places[1], places[2]
    return SampleIndex(
        storage, shards, tuple(keys), places[0].astype(np.int32), start, stop, _identities(keys), dict(sorted(members.items()))
    )


def _identities(keys: Iterable[str]) -> NDArray[np.uint64]:
    return np.frombuffer(b"".join(hashlib.sha256(key.encode()).digest()[:8] for key in keys), dtype=">u8").astype(np.uint64)


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


def image_of(members: Mapping[str, bytes]) -> bytes | None:
    """The encoded image of a sample; None if it has none."""
    return next((members[name] for name in IMAGE_MEMBERS if name in members), None)


def texts_of(members: Mapping[str, bytes]) -> dict[str, str]:
    """The text members of a sample by name without `.txt`."""
    return {name.removesuffix(".txt"): data.decode() for name, data in members.items() if name.endswith(".txt")}
