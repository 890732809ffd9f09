"""The streams of samples that batches are drawn from: splits of releases and foreign tars.

Each batch has the same number of samples of each stream, its ratio's share by the method of largest remainders, spread evenly over the
batch. So batch `step` takes samples `step * size` to `(step + 1) * size - 1` of a stream, and is found without those before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bioclip.digests import digest_value
from bioclip.errors import TrainingError
from bioclip.releases import Release, open_release
from bioclip.settings import DataStreamSettings, TrainingSettings
from bioclip.shards.sample_index import SampleIndex, index_split, index_tars
from bioclip.storage import Storage
from bioclip.training.data.lineage_matrix import NO_TAXON, LineageMatrix, SampleLineages, merge_lineages, read_lineages, taxa_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOREIGN_CAPTION = "txt"
"""Text member of a sample without a release."""


@dataclass(frozen=True)
class Stream:
    """Samples of one origin. `taxon` [N] is each sample's row in the lineage matrix, -1 without one; `ratio` its share of a batch.

    `num_incomplete` counts samples of foreign tars that are skipped because they lack an image or `txt`.
    """

    index: SampleIndex
    taxon: NDArray[np.int32]
    ratio: float = 1.0
    is_foreign: bool = False
    num_incomplete: int = 0


def stream_settings(settings: TrainingSettings) -> tuple[DataStreamSettings, ...]:
    """`training.data`, or if it is empty, `training.split` of the run's release."""
    return settings.data or (DataStreamSettings(split=settings.split),)


def open_streams(settings: TrainingSettings, release: Release, workspace: Storage) -> tuple[list[Stream], LineageMatrix]:
    """Every stream's samples, and the lineages of the releases among them.

    Raises TrainingError for truncated or empty shards, StorageError for missing ones.
    """
    chosen = stream_settings(settings)
    releases = [None if one.shards else release_of(one, release, workspace) for one in chosen]
    known: dict[str, SampleLineages] = {found.digest: read_lineages(found) for found in releases if found is not None}
    lineages = merge_lineages(list(known.values()))
    streams = []
    for one, found in zip(chosen, releases, strict=True):
        if found is None:
            storage, names = find_tars(one.shards, workspace)
            index, num_incomplete = index_tars(storage, names, FOREIGN_CAPTION)
            streams.append(Stream(index, np.full(len(index), NO_TAXON, dtype=np.int32), one.ratio, True, num_incomplete))
        else:
            index = index_split(found, one.split)
            streams.append(Stream(index, taxa_of(index.keys, known[found.digest], lineages), one.ratio))
    return streams, lineages


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
    return {"release": release_of(stream, release, workspace).digest, "split": stream.split, "ratio": stream.ratio}


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
