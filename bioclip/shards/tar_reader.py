"""The headers of a WebDataset tar, read one after another: for shards without an index, and for the bytes of single samples.

A sample is a run of tar members that share a key, as WebDataset defines it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from bioclip.errors import TrainingError

BLOCK_BYTES = 512
_REGULAR_FILE = (b"0", b"\0")

Member = tuple[str, str, int, int]
"""(key, name without key, first byte of the content, bytes)."""


def scan_members(stream: IO[bytes], name: str) -> Iterator[Member]:
    """Members of the whole tar `name`, in order; raises TrainingError when it is cut short or no tar of plain files."""
    num_bytes, position = stream.seek(0, 2), 0
    while position < num_bytes:
        stream.seek(position)
        if (parsed := _parse_header(stream.read(BLOCK_BYTES), name)) is None:
            return
        key, member, size = parsed
        end = position + BLOCK_BYTES + padded(size)
        if end > num_bytes:
            raise TrainingError(f"shard {name!r} is cut short at byte {num_bytes}; remove it and release again.")
        yield key, member, position + BLOCK_BYTES, size
        position = end
    raise TrainingError(f"shard {name!r} has no end mark: it is cut short; remove it and release again.")


def members_of(data: bytes, name: str) -> Iterator[Member]:
    """Members within a part of the tar `name` that begins with a header; raises TrainingError as `scan_members` does."""
    position = 0
    while position < len(data) and (parsed := _parse_header(data[position : position + BLOCK_BYTES], name)) is not None:
        key, member, size = parsed
        yield key, member, position + BLOCK_BYTES, size
        position += BLOCK_BYTES + padded(size)


def padded(num_bytes: int) -> int:
    """Bytes that a content takes in a tar: whole blocks."""
    return -(-num_bytes // BLOCK_BYTES) * BLOCK_BYTES


def _parse_header(block: bytes, name: str) -> tuple[str, str, int] | None:
    """(key, member, size in bytes) of a POSIX ustar header; None for the end mark."""
    if len(block) < BLOCK_BYTES:
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
