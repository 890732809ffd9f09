"""POSIX ustar archives (IEEE Std 1003.1, pax "ustar Interchange Format") of small members, their headers put together from cached pieces.

Same bytes as Python's `tarfile` with USTAR_FORMAT for plain files of mode 644 without owner and time, at a tenth of its cost: what a header
says of member name and size is made once for each (name, size), and its checksum is the sum of its pieces' sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import IO

from bioclip.errors import StorageError

BLOCK_BYTES = 512
MAX_NAME_BYTES = 100
MAX_MEMBER_BYTES = 8**11 - 1
"""Eleven octal digits: a byte less than 8 GiB."""
_RECORD_BYTES = 10_240
_FLUSH_BYTES = 1 << 20
_OWNER = b"0000644\0" + b"0000000\0" * 2
_REST = (b"0" + bytes(100) + b"ustar\x0000").ljust(BLOCK_BYTES - 156, b"\0")
"""What follows the checksum: a regular file, no link, magic and version; no user, group, device or prefix."""
_FIXED_SUM = sum(_REST) + 8 * ord(" ")
_PADDING = tuple(bytes(-size % BLOCK_BYTES) for size in range(BLOCK_BYTES))


@dataclass
class TarWriter:
    """Writes samples one after another to a binary stream that the caller opens and closes; `close` ends the archive, not the stream.

    `keys` [N], `members` [N][M] and `sizes` [N][M] (bytes) say what has been written: with ustar's fixed layout they give every offset.
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

        Raises StorageError where readers would take the name for another: a key with a dot, which WebDataset's readers cut at, or a name
        over 100 bytes, of which many readers see the end alone.
        """
        head = key.encode()
        if not head or b"." in head or b"\0" in head or head[0] == 47:
            raise StorageError(f"sample key {key!r} cannot name tar members: it must be neither empty nor absolute and hold no dot.")
        given = list(members)
        contents = dict(given)
        if len(contents) < len(given):
            raise StorageError(f"sample {key!r} has two members of one name: {', '.join(extension for extension, _ in given)}.")
        sizes = tuple(map(len, contents.values()))
        head_sum, head_bytes, parts = sum(head), len(head), self._parts
        for (extension, content), size in zip(contents.items(), sizes, strict=True):
            middle, middle_sum = _name_and_size(extension, head_bytes, size)
            parts += (head, middle, b"%06o\0 " % (head_sum + middle_sum), _REST, content, _PADDING[size % BLOCK_BYTES])
        self.keys.append(key)
        self.members.append(tuple(contents))
        self.sizes.append(sizes)
        self._num_waiting += sum(sizes)
        if self._num_waiting >= _FLUSH_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what waits and the end mark: two empty blocks, filled up to a whole record of 10,240 bytes."""
        self._flush()
        self._num_bytes += self.stream.write(bytes(2 * BLOCK_BYTES + -(self._num_bytes + 2 * BLOCK_BYTES) % _RECORD_BYTES))

    def _flush(self) -> None:
        self._num_bytes += self.stream.write(b"".join(self._parts))
        self._parts.clear()
        self._num_waiting = 0


@lru_cache(maxsize=1 << 14)
def _name_and_size(extension: str, key_bytes: int, size: int) -> tuple[bytes, int]:
    """The header between key and checksum, and the sum of all of its bytes except the key's."""
    name = f".{extension}".encode()
    if b"\0" in name or key_bytes + len(name) > MAX_NAME_BYTES:
        raise StorageError(
            f"a tar member of a {key_bytes}-byte key and extension {extension!r} has no ustar name; "
            f"at most {MAX_NAME_BYTES} bytes without NUL go: shorten the key."
        )
    if size > MAX_MEMBER_BYTES:
        raise StorageError(f"a tar member of {size} bytes is too large; ustar holds up to {MAX_MEMBER_BYTES}: leave it out or split it.")
    middle = name.ljust(MAX_NAME_BYTES - key_bytes, b"\0") + _OWNER + b"%011o\0%011o\0" % (size, 0)
    return middle, sum(middle) + _FIXED_SUM


def padded(sizes: Sequence[int]) -> int:
    """Bytes that a sample of members of these sizes takes in a tar: a header block for each, contents filled up to whole blocks."""
    return sum(BLOCK_BYTES + size + -size % BLOCK_BYTES for size in sizes)
