"""The streams of samples that batches are drawn from: splits of releases and foreign tars.

Each batch has the same number of samples of each stream, its ratio's share by the method of largest remainders, spread evenly over the
batch. So batch `step` takes samples `step * size` to `(step + 1) * size - 1` of a stream, and is found without those before it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bioclip import layout
from bioclip.digests import digest_value
from bioclip.errors import TrainingError
from bioclip.releases import Release, open_release
from bioclip.settings import DataStreamSettings, TrainingSettings
from bioclip.shards.index_building import index_split, index_tars
from bioclip.shards.lineage_groups import group_by_lineage
from bioclip.shards.sample_index import SampleIndex
from bioclip.storage import Storage
from bioclip.training.data.lineage_matrix import NO_TAXON, LineageMatrix, merge_lineages, taxa_of
from bioclip.training.data.order import BalancedOrder, BlockOrder, EpochOrder, SampleOrder
from bioclip.training.data.shard_reading import ShardCache

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOREIGN_CAPTION = "txt"
"""Text member of a sample without a release."""


@dataclass(frozen=True)
class Stream:
    """Samples of one origin. `taxa` [T] are the rows of the index's lineages in the lineage matrix; `ratio` is its share of a batch.

    `balance` is the exponent of BalancedOrder, 0 for plain sampling.
    """

    index: SampleIndex
    taxa: NDArray[np.int32]
    ratio: float = 1.0
    is_foreign: bool = False
    balance: float = 0.0

    @property
    def num_incomplete(self) -> int:
        """Samples of foreign tars that are skipped because they lack an image or `txt`."""
        return self.index.num_incomplete

    def taxon_of(self, lineage: NDArray[np.int32]) -> NDArray[np.int64]:
        """Rows [N] in the lineage matrix of samples with the index's lineages [N]; -1 without one."""
        if not len(self.taxa):
            return np.full(len(lineage), NO_TAXON, dtype=np.int64)
        return np.where(lineage == NO_TAXON, NO_TAXON, self.taxa[lineage]).astype(np.int64)


def stream_settings(settings: TrainingSettings) -> tuple[DataStreamSettings, ...]:
    """`training.data`, or if it is empty, `training.split` of the run's release."""
    return settings.data or (DataStreamSettings(split=settings.split),)


def open_streams(settings: TrainingSettings, release: Release, workspace: Storage) -> tuple[list[Stream], LineageMatrix]:
    """Every stream's samples, and the lineages of the releases among them; their indexes are kept in the cache folder.

    Raises TrainingError for truncated or empty shards, StorageError for missing ones.
    """
    cache_dir, indexes = cache_dir_of(settings, workspace), []
    for one in stream_settings(settings):
        if one.shards:
            indexes.append(index_tars(*find_tars(one.shards, workspace), FOREIGN_CAPTION, cache_dir))
        else:
            indexes.append(index_split(release_of(one, release, workspace), one.split, cache_dir))
    lineages = merge_lineages(index.lineages for index in indexes)
    streams = [
        Stream(index, taxa_of(index.lineages, lineages), one.ratio, bool(one.shards), one.balance)
        for one, index in zip(stream_settings(settings), indexes, strict=True)
    ]
    return streams, lineages


def cache_dir_of(settings: TrainingSettings, workspace: Storage) -> Path:
    """The local folder for indexes and copies of tars."""
    if settings.cache_dir:
        return Path(settings.cache_dir).expanduser().absolute()
    state = Path(workspace.root) / layout.STATE_DIR if workspace.is_local else Path(tempfile.gettempdir()) / f"treeoflife-{os.getuid()}"
    return state / layout.TRAINING_CACHE_DIR


def open_shard_cache(settings: TrainingSettings, workspace: Storage) -> ShardCache:
    """The cache of copies of remote tars."""
    folder = cache_dir_of(settings, workspace) / layout.CACHED_SHARDS_DIR
    return ShardCache(folder, int(settings.cache_shards_gb * (1 << 30)))


def release_of(stream: DataStreamSettings, release: Release, workspace: Storage) -> Release:
    """The release that a stream names, or the run's own; raises StorageError if it does not exist."""
    return open_release(workspace, stream.release) if stream.release else release


def find_tars(address: str, workspace: Storage) -> tuple[Storage, tuple[str, ...]]:
    """Storage and sorted names of the tars at `address`: one tar, or all below a folder or prefix.

    S3 is read with the workspace's access. Raises TrainingError if there are none.
    """
    root = address.rstrip("/") if "://" in address else str(Path(address).expanduser().absolute())
    folder, _, name = root.rpartition("/")
    options = workspace.options if address.startswith("s3://") else ()
    if root.endswith(".tar"):
        storage, names = Storage(folder, options), [name]
    else:
        storage = Storage(root, options)
        names = [name for name in storage.list() if name.endswith(".tar")]
    if not names or not all(storage.exists(name) for name in names[:1]):
        raise TrainingError(f"training.data: no tar found at {address!r}; name a .tar file, or a folder or s3:// prefix with such files.")
    return storage, tuple(names)


def stream_identity(stream: DataStreamSettings, release: Release, workspace: Storage) -> object:
    """Values that determine a stream's samples, as JSON: a release's digest and split, or the SHA-256 of every foreign tar, which is
    read."""
    if stream.shards:
        storage, names = find_tars(stream.shards, workspace)
        return {"tars": [storage.digest(name)[0] for name in names], "ratio": stream.ratio}
    balance = {"balance": stream.balance} if stream.balance else {}
    return {"release": release_of(stream, release, workspace).digest, "split": stream.split, "ratio": stream.ratio} | balance


def sizes_of(batch_size: int, ratios: Sequence[float]) -> tuple[int, ...]:
    """Samples of each stream in a batch, by largest remainders, the earlier stream first; raises TrainingError for a share of 0."""
    quotas = np.array(ratios) / sum(ratios) * batch_size
    sizes = np.floor(quotas).astype(int)
    by_remainder = np.argsort(-(quotas - sizes), kind="stable")
    sizes[by_remainder[: batch_size - int(sizes.sum())]] += 1
    if not sizes.all():
        raise TrainingError(
            f"training.data: stream {int(np.argmin(sizes)) + 1} has no sample in a batch of {batch_size}; "
            "raise its ratio or training.batch_size."
        )
    return tuple(int(size) for size in sizes)


def streams_of_slots(sizes: Sequence[int]) -> NDArray[np.int64]:
    """Stream [B] of every place in a batch: the j-th of n samples of a stream is placed near the share (j + 1/2) / n of the batch."""
    shares = np.concatenate([(np.arange(size) + 0.5) / size for size in sizes])
    streams = np.repeat(np.arange(len(sizes)), sizes)
    chosen: NDArray[np.int64] = streams[np.lexsort((streams, shares))]
    return chosen


def seed_of(seed: int, stream: int) -> int:
    """Seed of a stream's order, crops and captions: the run's own for the first, so that further streams do not change it."""
    return seed if stream == 0 else int(digest_value(["stream", seed, stream])[:15], 16)


_MAX_SAMPLE_ORDER_BYTES = 64 << 30


def order_name(stream: Stream, settings: TrainingSettings) -> str:
    """`sample` or `block`; for `auto` by the bytes of the stream's samples, so that it does not depend on where they are stored."""
    if settings.order != "auto":
        return settings.order
    return "block" if stream.index.num_bytes > _MAX_SAMPLE_ORDER_BYTES and not stream.balance else "sample"


def order_of(stream: Stream, seed: int, settings: TrainingSettings) -> EpochOrder:
    """The order of a stream's samples; raises TrainingError for a balanced stream in blocks."""
    name = order_name(stream, settings)
    if stream.balance:
        if name == "block":
            raise TrainingError("training.order is 'block', but a stream has a balance, which draws from all tars; set order to sample.")
        return BalancedOrder(group_by_lineage(stream.index), seed, stream.balance)
    if name == "block":
        return BlockOrder(stream.index.first, seed, settings.window_shards)
    return SampleOrder(len(stream.index), seed)


def reads_through_cache(stream: Stream, settings: TrainingSettings, cache: ShardCache | None) -> bool:
    """True if the tars of a stream are copied to this machine: remote ones, in blocks or if they all fit."""
    if cache is None or not cache.max_bytes or stream.index.storage.is_local:
        return False
    return order_name(stream, settings) == "block" or stream.index.num_bytes <= cache.max_bytes
