"""Media files on this machine: a URL form that does not depend on their folder, and a bounded, confined way to read them.

A record's identity rests on its media URL, so the URL of a local file is its path below its source's media
root, independent of where the root is. The form is `local:<path>` for a file and `local:<path>!/<member>` for a member of a zip or plain
tar file; when the root is itself such an archive, `local:<member>`. Paths are relative, with `/` between percent-encoded parts (so `!` in a
name is `%21`), and bytes that are not UTF-8 are percent-encoded one by one. Moving the folder changes no record id; `media_root` derives
the current folder from the settings.
"""

from __future__ import annotations

import os
import re
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from bioclip.delimited.reading import READ_ERRORS
from bioclip.errors import ArchiveError
from bioclip.settings import SourceSettings

SCHEME = "local"
NO_FILE = frozenset({"", "media_missing", "unsafe_path"})
"""The answers of `local_media_state` where there is no file to read."""
_MEMBER = "!/"
_DRIVE = re.compile(r"[A-Za-z]:")


class LocalMediaError(ArchiveError):
    """A local medium cannot be read; `reason` is the stable name for the outcome table.

    `unsafe_path` (leaves the root, or is not a plain file), `media_missing`, `body_too_large`, `archive_unreadable`.
    """

    def __init__(self, reason: str, message: str) -> None:
        self.reason, self.message = reason, message
        super().__init__(message)

    def __reduce__(self) -> tuple[type[LocalMediaError], tuple[str, str]]:
        return type(self), (self.reason, self.message)


def is_local(url: str) -> bool:
    """True for URLs that `read_local_media` reads: `local:` and `file:`."""
    return url.split(":", 1)[0].lower() in {SCHEME, "file"} and ":" in url


def local_url(path: str, member: str = "") -> str:
    """The URL of a file, or of an archive's member, by its path below the media root; raises LocalMediaError (`unsafe_path`)."""
    encoded = _encode(path)
    return f"{SCHEME}:{encoded}{_MEMBER}{_encode(member)}" if member else f"{SCHEME}:{encoded}"


def media_root(source: SourceSettings) -> Path:
    """The root of a source's `local:` URLs: its option `images`, else its folder, else the folder of its file."""
    if images := source.options.get("images", ""):
        return Path(images).expanduser()
    path = Path(source.path).expanduser()
    return path if path.is_dir() else path.parent


def read_local_media(url: str, root: Path | str, max_bytes: int) -> bytes:
    """The bytes behind a `local:` URL, or behind a `file:` URL below `root`; safe to call from many threads.

    Raises LocalMediaError; nothing outside `root` is opened, even through links, and at most `max_bytes` are read.
    """
    root = Path(root)
    path, member = _parse(url, root)
    if path is None:
        return _read_member(_real(root, root, url), member, url, max_bytes)
    file = _real(path, root, url)
    return _read_member(file, member, url, max_bytes) if member else _read_file(file, url, max_bytes)


def local_media_state(url: str, root: Path | str) -> str:
    """A text that differs where `read_local_media` may answer differently: the reason for which no file is found, else the size and the
    modification time of the file or of the archive that holds it. Empty without a root, for which local URLs are refused."""
    if not root:
        return ""
    try:
        path, _ = _parse(url, Path(root))
        status = _real(Path(root) if path is None else path, Path(root), url).stat()
    except LocalMediaError as error:
        return error.reason
    except OSError:
        return "media_missing"
    return f"{status.st_size}-{status.st_mtime_ns}"


def _encode(path: str) -> str:
    _check_relative(path, path)
    return quote(path, safe="/", errors="surrogateescape")


def _check_relative(path: str, shown: str) -> None:
    parts = path.replace("\\", "/").split("/")
    if path.startswith("/") or "\0" in path or _DRIVE.match(path) or any(part in {"", ".", ".."} for part in parts):
        raise LocalMediaError("unsafe_path", f"{shown!r} is not a plain relative path; use a path below the media root without '..'.")


def _parse(url: str, root: Path) -> tuple[Path | None, str]:
    scheme, _, rest = url.partition(":")
    if scheme.lower() == "file":
        parts = urlsplit(url)
        if parts.netloc not in {"", "localhost"} or parts.query or parts.fragment:
            raise LocalMediaError("unsafe_path", f"{url!r} names another machine; a file: URL has three slashes and a path.")
        outer, _, member = parts.path.partition(_MEMBER)
        return Path(_decode(outer)), _checked(_decode(member), url) if member else ""
    if scheme != SCHEME:
        raise LocalMediaError("unsafe_path", f"{url!r} is neither a local: nor a file: URL.")
    outer, _, member = rest.partition(_MEMBER)
    outer = _checked(_decode(outer), url)
    if root.is_file():
        return None, outer
    return root / outer, _checked(_decode(member), url) if member else ""


def _decode(text: str) -> str:
    return unquote(text, errors="surrogateescape")


def _checked(path: str, url: str) -> str:
    _check_relative(path, url)
    return path


def _real(path: Path, root: Path, url: str) -> Path:
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        raise LocalMediaError("media_missing", f"{url!r}: no such file below the source's media root; correct options.images.") from None
    if not real.is_relative_to(root.resolve()):
        raise LocalMediaError("unsafe_path", f"{url!r} leaves the source's media root; copy the file into it.")
    if not real.is_file():
        raise LocalMediaError("unsafe_path", f"{url!r} is not a plain file; name a regular file.")
    return real


def _read_file(file: Path, url: str, max_bytes: int) -> bytes:
    try:
        with file.open("rb") as stream:
            data = stream.read(max_bytes + 1)
    except OSError as error:
        raise LocalMediaError("media_missing", f"{url!r} cannot be read: {error.strerror}.") from None
    if len(data) > max_bytes:
        raise LocalMediaError("body_too_large", f"{url!r} is longer than {max_bytes} bytes; raise download.max_body_bytes.")
    return data


def _read_member(archive: Path, member: str, url: str, max_bytes: int) -> bytes:
    status = archive.stat()
    opened = _open_members(archive, status.st_size, status.st_mtime_ns)
    size = opened.sizes.get(member)
    if size is None:
        raise LocalMediaError("media_missing", f"{url!r}: {archive.name} has no such plain member.")
    if size > max_bytes:
        raise LocalMediaError("body_too_large", f"{url!r} is {size} bytes, more than {max_bytes}; raise download.max_body_bytes.")
    try:
        data = opened.read(member, max_bytes + 1)
    except READ_ERRORS as error:
        raise LocalMediaError(
            "archive_unreadable", f"{url!r}: the member of {archive.name} is damaged ({error}); download the archive again."
        ) from None
    if len(data) != size:
        raise LocalMediaError(
            "archive_unreadable", f"{url!r}: {len(data)} bytes read, but {archive.name} states {size}; download the archive again."
        )
    return data


@dataclass(frozen=True)
class _Members:
    sizes: dict[str, int]
    read: Callable[[str, int], bytes]


@lru_cache(maxsize=16)
def _open_members(archive: Path, size: int, modified_ns: int) -> _Members:
    """The plain members of an archive by name; `size` and `modified_ns` detect a changed file, which is read again."""
    try:
        return _zip_members(archive) if zipfile.is_zipfile(archive) else _tar_members(archive)
    except (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, RuntimeError) as error:
        raise LocalMediaError("archive_unreadable", f"{archive.name} is neither a zip nor a plain tar file ({error}); compressed tars "
                              "have no random access: unpack them.") from None  # fmt: skip


def _zip_members(archive: Path) -> _Members:
    zipped = zipfile.ZipFile(archive)
    sizes = {info.filename: info.file_size for info in zipped.infolist() if not info.is_dir()}

    def read(member: str, limit: int) -> bytes:
        with zipped.open(member) as stream:
            return stream.read(limit)

    return _Members(sizes, read)


def _tar_members(archive: Path) -> _Members:
    places: dict[str, tuple[int, int]] = {}
    with tarfile.open(archive, "r:") as tar:
        for info in tar:
            if info.isreg() and not info.issparse():
                places[info.name.removeprefix("./")] = (info.offset_data, info.size)
            tar.members = []  # type: ignore[attr-defined]

    def read(member: str, limit: int) -> bytes:
        offset, size = places[member]
        with archive.open("rb") as stream:
            stream.seek(offset, os.SEEK_SET)
            return stream.read(min(size, limit))

    return _Members({name: size for name, (_, size) in places.items()}, read)


def is_archive_name(path: str) -> bool:
    """True for names of archives whose members have URLs: .zip and .tar."""
    return PurePosixPath(path).suffix.lower() in {".zip", ".tar"}
