"""Random access to the samples of a split: where each lies in its tar.

A sample is a run of tar members that share a key, as WebDataset defines it. The index holds three numbers for each; one range
read then gives a whole sample, from a folder or from S3 alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import numpy as np

from bioclip.digests import digest_bytes
from bioclip.errors import TrainingError
from bioclip.storage import Storage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioclip.release import Release

_BLOCK_BYTES = 512
_REGULAR_FILE = (b"0", b"\0")


@dataclass(frozen=True)
class SampleIndex:
    """Samples of some tars, in the order of the tars.

    `shard` [N] indexes `shards`, `start` and `stop` [N] are byte offsets in that tar; `identity` [N] is the first 64 bits of the
    SHA-256 of each key, which orders samples without regard to where they lie.
    """

    storage: Storage
    shards: tuple[str, ...]
    keys: tuple[str, ...]
    shard: NDArray[np.int32]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    identity: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, position: int) -> dict[str, bytes]:
        """Members of the sample at `position`, by name without key: `jpg`, `json`, `sci.txt` and so on."""
        name = self.storage.uri(self.shards[self.shard[position]])
        start, stop = int(self.start[position]), int(self.stop[position])
        data: bytes = self.storage.filesystem.cat_file(name, start=start, end=stop)
        return {member: data[begin:end] for _, member, begin, end in _members_of(data, name)}


def index_split(release: Release, split: str) -> SampleIndex:
    """Index of all tars of `split`; raises TrainingError when a tar is cut short or holds another number of samples than was released."""
    expected = {shard["name"]: shard["num_samples"] for shard in release.manifest["splits"][split]["shards"]}
    rows: list[tuple[str, int, int, int]] = []
    for number, name in enumerate(release.shards(split)):
        with release.storage.reader(name) as stream:
            found = [(key, number, start, stop) for key, start, stop in _extents(stream, release.storage.uri(name))]
        if len(found) != expected[name]:
            raise TrainingError(
                f"shard {release.storage.uri(name)!r} holds {len(found)} samples, its manifest says {expected[name]}; "
                "it was changed or cut short: remove it and release again."
            )
        rows += found
    keys = tuple(row[0] for row in rows)
    numbers = np.array([row[1:] for row in rows], dtype=np.int64).reshape(-1, 3)
    identity = np.array([int(digest_bytes(key.encode())[:16], 16) for key in keys], dtype=np.uint64)
    return SampleIndex(
        release.storage, tuple(release.shards(split)), keys, numbers[:, 0].astype(np.int32), numbers[:, 1], numbers[:, 2], identity
    )


def _extents(stream: IO[bytes], name: str) -> Iterator[tuple[str, int, int]]:
    key, start, stop = "", 0, 0
    for member_key, header, end in _headers(stream, name):
        if member_key != key and key:
            yield key, start, stop
        if member_key != key:
            key, start = member_key, header
        stop = end
    if key:
        yield key, start, stop


def _headers(stream: IO[bytes], name: str) -> Iterator[tuple[str, int, int]]:
    num_bytes, position = stream.seek(0, 2), 0
    while position < num_bytes:
        stream.seek(position)
        if (parsed := _parse_header(stream.read(_BLOCK_BYTES), name)) is None:
            return
        key, _, size = parsed
        end = position + _BLOCK_BYTES + -(-size // _BLOCK_BYTES) * _BLOCK_BYTES
        if end > num_bytes:
            raise TrainingError(f"shard {name!r} is cut short at byte {num_bytes}; remove it and release again.")
        yield key, position, end
        position = end
    raise TrainingError(f"shard {name!r} has no end mark: it is cut short; remove it and release again.")


def _members_of(data: bytes, name: str) -> Iterator[tuple[str, str, int, int]]:
    position = 0
    while position < len(data) and (parsed := _parse_header(data[position : position + _BLOCK_BYTES], name)) is not None:
        key, member, size = parsed
        begin = position + _BLOCK_BYTES
        yield key, member, begin, begin + size
        position = begin + -(-size // _BLOCK_BYTES) * _BLOCK_BYTES


def _parse_header(block: bytes, name: str) -> tuple[str, str, int] | None:
    """(key, member, size in bytes) of a POSIX ustar header; None for the end mark."""
    if len(block) < _BLOCK_BYTES:
        raise TrainingError(f"shard {name!r} is cut short within a header; remove it and release again.")
    if not any(block):
        return None
    if block[156:157] not in _REGULAR_FILE:
        raise TrainingError(
            f"shard {name!r} has a tar entry of type {block[156:157]!r}; only plain files with names under 100 characters go."
        )
    path = block[:100].rstrip(b"\0").decode("utf-8", "replace")
    folder, _, base = path.rpartition("/")
    stem, _, member = base.partition(".")
    try:
        return f"{folder}/{stem}".lstrip("/"), member, int(block[124:136].rstrip(b"\0 ") or b"0", 8)
    except ValueError:
        raise TrainingError(f"shard {name!r} is no tar: the size of {path!r} is {block[124:136]!r}; remove it and release again.") from None


def texts_of(members: Mapping[str, bytes]) -> dict[str, str]:
    """The text members of a sample by name without `.txt`."""
    return {name.removesuffix(".txt"): data.decode() for name, data in members.items() if name.endswith(".txt")}
