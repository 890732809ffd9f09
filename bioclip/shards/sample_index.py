"""Random access to the samples of a split: 32 bytes per sample, in memory or in a file that the processes of a machine share.

A row gives a sample's id, its place in its tar and its lineage. One read of a byte range then gives the whole sample, from a folder or
from S3. A sample's position is its number in the order of the tars.

N  samples    S  tars    T  lineages
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bioclip.errors import ShardError
from bioclip.shards.sample_ids import ID, id_of, name_of
from bioclip.shards.sample_places import IMAGE_MEMBERS, TRAIN_SMALL
from bioclip.storage import Storage
from bioclip.tars import sample_extents

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["IMAGE_MEMBERS", "ROW", "TRAIN_SMALL", "RowValues", "SampleIndex", "StoredSample", "image_of", "texts_of"]

ROW = np.dtype([*((name, ID[name]) for name in ID.names or ()), ("start", "<i8"), ("num_bytes", "<u4"), ("lineage", "<i4")])
"""Id, first byte in the tar, bytes with headers, and lineage; -1 for a sample without one."""
RowValues = tuple[int, int, int, int, int]
"""A ROW as Python numbers."""
_ROWS_BEFORE_RELEASE = 1 << 13
"""Rows read at random until the pages of a mapped file are returned: at most 512 MiB, as Linux maps the 64 KiB around each page."""


class StoredSample(NamedTuple):
    """A sample as it is stored: its key, its bytes, and the place of each member's content in them, by name without key."""

    key: str
    data: bytes
    places: Mapping[str, slice]

    def members(self) -> dict[str, bytes]:
        """Content by name: `jpg`, `json`, `sci.txt` and so on."""
        return {name: self.data[place] for name, place in self.places.items()}

    def image(self) -> memoryview | None:
        """The encoded image, not copied; None if there is none."""
        for name in IMAGE_MEMBERS:
            if (place := self.places.get(name)) is not None:
                return memoryview(self.data)[place]
        return None

    def texts(self) -> dict[str, bytes]:
        """Content of the text members by name: `txt`, `sci.txt` and so on."""
        return {name: self.data[place] for name, place in self.places.items() if name[-3:] == "txt"}


@dataclass
class SampleIndex:
    """Samples of some tars. `rows` [N] are ROW; `first` [S + 1] is the position of each tar's first sample, and N.

    `shards` [S] are the names of the tars, `digests` [S] their SHA-256 where the manifest states it, else empty. `lineages` [T] are those
    that rows refer to. `members` counts the samples that hold each member, `num_bytes` their bytes with headers, and `num_incomplete` the
    samples left out since they lack an image or text. `mapped` is the file that `rows` shows, in `folder`, if there is one.
    """

    storage: Storage
    shards: tuple[str, ...]
    digests: tuple[str, ...]
    first: NDArray[np.int64]
    rows: NDArray[np.void]
    lineages: tuple[str, ...]
    members: Mapping[str, int]
    num_bytes: int
    num_incomplete: int = 0
    mapped: mmap.mmap | None = None
    folder: Path | None = None
    _num_read: int = field(default=0, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def keys(self) -> tuple[str, ...]:
        """`name` of each sample, in memory."""
        return tuple(name_of(high, low) for high, low in zip(self.rows["high"].tolist(), self.rows["low"].tolist(), strict=True))

    def take(self, positions: NDArray[np.int64]) -> NDArray[np.void]:
        """A copy of the rows at `positions`."""
        rows: NDArray[np.void] = self.rows[positions]
        self._num_read += len(positions)
        if self.mapped is not None and self._num_read >= _ROWS_BEFORE_RELEASE:
            self._num_read = 0
            self.mapped.madvise(mmap.MADV_DONTNEED)  # the pages stay in the system's cache, which the processes share
        return rows

    def shards_of(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number [N] in `shards` of the tars of the samples at `positions`."""
        return np.searchsorted(self.first, positions, side="right") - 1

    def name(self, position: int) -> str:
        """The id of the sample at `position`, as text."""
        return name_of(int(self.rows["high"][position]), int(self.rows["low"][position]))

    def read(self, position: int) -> dict[str, bytes]:
        """Members of the sample at `position`, by name without key: `jpg`, `json`, `sci.txt` and so on.

        Raises ShardError if the tar has other bytes there.
        """
        row = self.rows[position]
        shard = int(self.shards_of(np.array([position]))[0])
        start, num_bytes = int(row["start"]), int(row["num_bytes"])
        return self.open_sample(shard, row.item(), self.storage.read_range(self.shards[shard], start, start + num_bytes)).members()

    def open_sample(self, shard: int, row: RowValues, data: bytes) -> StoredSample:
        """The sample of a row, from its bytes in the tar number `shard`; raises ShardError if they are of another sample."""
        high, low, start, num_bytes, _ = row
        uri = self.storage.uri(self.shards[shard])
        key, places = sample_extents(data, uri)
        if len(data) != num_bytes or not (key == name_of(high, low) or id_of(key) == (high, low)):
            raise ShardError(
                f"shard {uri!r} does not hold {name_of(high, low)!r} in bytes {start} to {start + num_bytes}, where its index says; "
                "check the release with `treeoflife release verify --deep`."
            )
        return StoredSample(key, data, places)


def image_of(members: Mapping[str, bytes]) -> bytes | None:
    """The encoded image of a sample; None if it has none."""
    return next((members[name] for name in IMAGE_MEMBERS if name in members), None)


def texts_of(members: Mapping[str, bytes]) -> dict[str, str]:
    """The text members of a sample by name without `.txt`."""
    return {name.removesuffix(".txt"): data.decode() for name, data in members.items() if name.endswith(".txt")}
