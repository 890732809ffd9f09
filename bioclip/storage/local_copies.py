"""Local copies of files and folders at a URL, for libraries that read and write local paths only.

Local paths are used directly. A file at an fsspec URL (`s3://`, `memory://`, `file://`) is copied to a temporary folder, which is removed
when the block ends, so the disk of TMPDIR must hold it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from bioclip.errors import StorageError
from bioclip.settings import S3Settings
from bioclip.storage.storage import Storage, open_storage

Access = Callable[[], S3Settings]
"""Gives the S3 access; called only for a URL."""


@contextmanager
def local_input(address: str, access: Access, names: Sequence[str] = ()) -> Iterator[Path]:
    """A local path with the content of the file or folder at `address`; raises StorageError if the URL has no file.

    Where a folder holds the first of `names`, only `names` are copied.
    """
    if (path := local_path(address)) is not None:
        yield path
        return
    folder, name = _split(address, access)
    with tempfile.TemporaryDirectory(prefix="treeoflife-") as scratch:
        target = Path(scratch) / name
        if folder.at_first_contact.exists(name):
            _download(folder, name, target)
        else:
            below = folder.sub(name)
            for inner in _chosen(below.list(), names):
                _download(below, inner, target / inner)
        if not target.exists():
            raise StorageError(f"{address!r} holds no file; check the address, and workspace.s3 for its access.")
        yield target


@contextmanager
def local_output(address: str, access: Access) -> Iterator[Path]:
    """A local path to write; when the block ends without an error, files at a temporary path are copied to the URL `address`."""
    if (path := local_path(address)) is not None:
        yield path
        return
    folder, name = _split(address, access)
    with tempfile.TemporaryDirectory(prefix="treeoflife-") as scratch:
        source = Path(scratch) / name
        yield source
        for path in sorted([source] if source.is_file() else (one for one in source.rglob("*") if one.is_file())):
            with folder.writer(path.relative_to(scratch).as_posix()) as target, path.open("rb") as stream:
                shutil.copyfileobj(stream, target)


def write_file(address: str, data: bytes, access: Access) -> str:
    """Write a whole file or nothing at a path or URL; returns its full address."""
    path = local_path(address)
    folder, name = _split(address, access) if path is None else (Storage(str(path.absolute().parent)), path.name)
    folder.write_bytes(name, data)
    return folder.uri(name)


def local_path(address: str) -> Path | None:
    """The path that `address` is, `~` expanded, or None for a URL of another scheme than `file`."""
    if address.startswith("file://"):
        return Path(url2pathname(urlsplit(address).path))
    return None if "://" in address else Path(address).expanduser()


def _split(address: str, access: Access) -> tuple[Storage, str]:
    above, _, name = address.rstrip("/").rpartition("/")
    if not above or above.endswith(("/", ":")):
        raise StorageError(f"{address!r} names no file or folder; give a URL such as s3://bucket/folder/names.csv.")
    return open_storage(above, access()), name


def _chosen(found: Sequence[str], names: Sequence[str]) -> Sequence[str]:
    return [name for name in found if name in names] if names and names[0] in found else found


def _download(storage: Storage, name: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with storage.reader(name) as stream, target.open("wb") as copy:
        shutil.copyfileobj(stream, copy)
