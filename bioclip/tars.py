"""Uncompressed tars of samples: writing them, and reading their headers and members.

Format: POSIX ustar (IEEE Std 1003.1, pax "ustar Interchange Format"). Members of a sample are neighbours and share a key, as WebDataset
defines it (https://github.com/webdataset/webdataset). The writer gives the same bytes as Python's `tarfile` with USTAR_FORMAT for plain
files of mode 644 without owner and time, at a tenth of its cost: the part of a header that depends on member name and size is computed
once for each (name, size), and its checksum is the sum of the sums of its parts. All errors are ShardError.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import IO, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from bioclip.errors import ShardError

BLOCK_BYTES = 512
MAX_NAME_BYTES = 100
MAX_MEMBER_BYTES = 8**11 - 1
"""Eleven octal digits: a byte less than 8 GiB."""
_RECORD_BYTES = 10_240
_FLUSH_BYTES = 1 << 20
_OWNER = b"0000644\0" + b"0000000\0" * 2
_AFTER_CHECKSUM = (b"0" + bytes(100) + b"ustar\x0000").ljust(BLOCK_BYTES - 156, b"\0")
"""A regular file, no link, magic and version; no user, group, device or prefix."""
_FIXED_SUM = sum(_AFTER_CHECKSUM) + 8 * ord(" ")
_PADDING = tuple(bytes(-size % BLOCK_BYTES) for size in range(BLOCK_BYTES))
_SIZE_FIELD = slice(124, 136)
_TYPE_FIELD = slice(156, 157)
_REGULAR_FILE = (b"0", b"\0")
_FILE_HEADER = re.compile(rb"(?s)(?=([^\0]{1,100}))(?=.{156}[0\0]).{124}([ 0-7]{1,12})")
"""Name and size of a plain file: one match costs a quarter of reading both fields in Python."""
Bytes = TypeVar("Bytes", int, npt.NDArray[np.int64])
_REMEDY = "remove it and build the release again."


def padded(num_bytes: Bytes) -> Bytes:
    """Bytes that contents of these sizes occupy in a tar: whole blocks of 512."""
    return -(-num_bytes // BLOCK_BYTES) * BLOCK_BYTES


def sample_bytes(sizes: Sequence[int]) -> int:
    """Bytes that a sample with members of these sizes occupies in a tar, headers included."""
    return sum(BLOCK_BYTES + padded(size) for size in sizes)


@dataclass
class TarWriter:
    """Writes samples one after another to a binary stream that the caller opens and closes; `close` ends the archive, not the stream.

    `keys` [N], `members` [N][M] and `sizes` [N][M] (bytes) describe what has been written; with ustar's fixed layout they give every
    offset.
    """

    stream: IO[bytes]
    keys: list[str] = field(default_factory=list)
    members: list[tuple[str, ...]] = field(default_factory=list)
    sizes: list[tuple[int, ...]] = field(default_factory=list)
    _parts: list[bytes] = field(default_factory=list)
    _num_waiting: int = 0
    _num_bytes: int = 0

    def add(self, key: str, members: Iterable[tuple[str, bytes]]) -> None:
        """Write (extension, content) of a sample as `<key>.<extension>`.

        Raises ShardError for a name that readers would misread: a key with a dot, at which WebDataset's readers cut, or a name over
        100 bytes, of which many readers see only the end.
        """
        head = key.encode()
        if not head or b"." in head or b"\0" in head or head[0] == 47:
            raise ShardError(f"sample key {key!r} cannot name tar members: it must be neither empty nor absolute and hold no dot.")
        given = list(members)
        contents = dict(given)
        if len(contents) < len(given):
            raise ShardError(f"sample {key!r} has two members of one name: {', '.join(extension for extension, _ in given)}.")
        sizes = tuple(map(len, contents.values()))
        head_sum, head_bytes, parts = sum(head), len(head), self._parts
        for (extension, content), size in zip(contents.items(), sizes, strict=True):
            middle, middle_sum = _name_and_size(extension, head_bytes, size)
            parts += (head, middle, b"%06o\0 " % (head_sum + middle_sum), _AFTER_CHECKSUM, content, _PADDING[size % BLOCK_BYTES])
        self.keys.append(key)
        self.members.append(tuple(contents))
        self.sizes.append(sizes)
        self._num_waiting += sum(sizes)
        if self._num_waiting >= _FLUSH_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is buffered and the end mark: two empty blocks, filled up to a whole record of 10,240 bytes."""
        self._flush()
        self._num_bytes += self.stream.write(bytes(2 * BLOCK_BYTES + -(self._num_bytes + 2 * BLOCK_BYTES) % _RECORD_BYTES))

    def _flush(self) -> None:
        self._num_bytes += self.stream.write(b"".join(self._parts))
        self._parts.clear()
        self._num_waiting = 0


def write_tar(stream: IO[bytes], samples: Iterable[tuple[str, Iterable[tuple[str, bytes]]]]) -> TarWriter:
    """Write (key, members) one after another; returns the closed writer, which knows keys, members and sizes."""
    tar = TarWriter(stream)
    for key, members in samples:
        tar.add(key, members)
    tar.close()
    return tar


@lru_cache(maxsize=1 << 14)
def _name_and_size(extension: str, key_bytes: int, size: int) -> tuple[bytes, int]:
    """The header between key and checksum, and the sum of all of its bytes except the key's."""
    name = f".{extension}".encode()
    if b"\0" in name or key_bytes + len(name) > MAX_NAME_BYTES:
        raise ShardError(
            f"a tar member with a key of {key_bytes} bytes and extension {extension!r} has no ustar name, "
            f"which has at most {MAX_NAME_BYTES} bytes and no NUL; shorten the key."
        )
    if size > MAX_MEMBER_BYTES:
        raise ShardError(f"a tar member of {size} bytes is too large; ustar holds up to {MAX_MEMBER_BYTES}: leave it out or split it.")
    middle = name.ljust(MAX_NAME_BYTES - key_bytes, b"\0") + _OWNER + b"%011o\0%011o\0" % (size, 0)
    return middle, sum(middle) + _FIXED_SUM


class TarMember(NamedTuple):
    """A member of a sample: its name is `<key>.<extension>`; its content starts at byte `offset`, after the header."""

    key: str
    extension: str
    offset: int
    num_bytes: int


def split_member_name(name: str, *, ends_at_last: bool = False) -> tuple[str, str]:
    """(key, extension) of a member: its path up to the first dot of the file's name, as WebDataset has it, or up to the last one."""
    folder, _, file = name.rpartition("/")
    stem, _, extension = file.rpartition(".") if ends_at_last and "." in file.lstrip(".") else file.partition(".")
    return f"{folder}/{stem}" if folder else stem, extension


def scan_members(stream: IO[bytes], name: str) -> Iterator[TarMember]:
    """Members of the whole tar `name`, in order, without reading contents.

    Raises ShardError when it is cut short or holds anything but plain files.
    """
    num_bytes, position = stream.seek(0, 2), 0
    while position < num_bytes:
        stream.seek(position)
        member = _parse_header(stream.read(BLOCK_BYTES), position, name)
        if member is None:
            return
        position = member.offset + padded(member.num_bytes)
        if position > num_bytes:
            raise ShardError(f"shard {name!r} is cut short at byte {num_bytes}; {_REMEDY}")
        yield member
    raise ShardError(f"shard {name!r} has no end mark, so it is cut short; {_REMEDY}")


def sample_extents(data: bytes, name: str) -> tuple[str, dict[str, slice]]:
    """The key of the one sample that `data` holds, a part of the tar `name`, and the place of each member's content by extension.

    The key is empty if `data` holds anything else. Raises ShardError if it does not start with a header.
    """
    if (first := _FILE_HEADER.match(data)) is None:
        _parse_header(data[:BLOCK_BYTES], 0, name)
        return "", {}
    full_name = first[1]
    key, extension = split_member_name(full_name.decode("utf-8", "replace").lstrip("/"))
    prefix, position = full_name[: len(full_name) - len(extension.encode())], 0
    places: dict[str, slice] = {}
    while header := _FILE_HEADER.match(data, position):
        member, size = header.groups()
        if not member.startswith(prefix):
            break
        try:
            content, num_bytes = position + BLOCK_BYTES, int(size, 8)
        except ValueError:
            return "", {}
        places[member[len(prefix) :].decode("utf-8", "replace")] = slice(content, content + num_bytes)
        position = content + num_bytes + -num_bytes % BLOCK_BYTES
    return (key, places) if position == len(data) else ("", {})


def header_name(header: bytes) -> bytes:
    """The member name that a header states; empty for the end mark."""
    return header[:MAX_NAME_BYTES].rstrip(b"\0")


def header_size(header: bytes) -> int:
    """Bytes of content that a header states; raises ShardError if the field is not an octal number."""
    try:
        return int(header[_SIZE_FIELD].rstrip(b"\0 ") or b"0", 8)
    except ValueError:
        raise ShardError(f"the size of {header_name(header).decode('utf-8', 'replace')!r} is {header[_SIZE_FIELD]!r}") from None


def _parse_header(header: bytes, position: int, name: str) -> TarMember | None:
    """The member whose header is at `position`; None for the end mark."""
    if len(header) < BLOCK_BYTES:
        raise ShardError(f"shard {name!r} is cut short within a header; {_REMEDY}")
    if not any(header):
        return None
    if header[_TYPE_FIELD] not in _REGULAR_FILE:
        kind = header[_TYPE_FIELD]
        raise ShardError(f"shard {name!r} has a tar entry of type {kind!r}; only plain files with names under 100 characters are read.")
    try:
        num_bytes = header_size(header)
    except ShardError as error:
        raise ShardError(f"shard {name!r} is not a tar: {error}; {_REMEDY}") from None
    key, extension = split_member_name(header_name(header).decode("utf-8", "replace").lstrip("/"))
    return TarMember(key, extension, position + BLOCK_BYTES, num_bytes)
