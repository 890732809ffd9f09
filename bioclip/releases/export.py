"""Copying a release: the files in its manifest, including those of earlier releases, under the same relative names.

Each file is written atomically and the manifest last, so an interrupted copy is not a release. Each file's
digest is checked while it is copied. Existing files are read and kept if they are equal, so a second run copies only
missing files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from bioclip import layout
from bioclip.errors import StorageError
from bioclip.releases.manifest import Release, workspace_name
from bioclip.storage import Storage

_FILES_AT_ONCE = 4
_CHUNK_BYTES = 8 << 20
_SHOWN = 3
T = TypeVar("T")


@dataclass(frozen=True)
class ExportedFile:
    """A file to copy: where it is, its name there, its name in the destination, and its expected digest and size."""

    source: Storage
    name: str
    target: str
    sha256: str
    num_bytes: int


@dataclass(frozen=True)
class Export:
    """A complete release in `folder`. `num_bytes` counts all its files, the other numbers count files copied by this run."""

    folder: Storage
    num_files: int
    num_bytes: int
    num_copied: int
    num_copied_bytes: int


def export_release(release: Release, destination: Storage) -> Export:
    """Copy a release to `<destination>/<version>`, and the files of earlier releases that it uses to `<destination>/<their version>`.

    A few files are copied at once, with 8 MiB of each in memory; copies to a URL are assembled in the folder of temporary
    files. Raises StorageError before copying if the destination has a different file of the same name, and during copying
    if a file of the release does not match its manifest.
    """
    files = [
        ExportedFile(release.storage, name, _target(release, name), sha256, num_bytes)
        for name, (sha256, num_bytes) in sorted(release.files().items())
    ]
    last = [described_file(release, name, _target(release, name)) for name in (layout.SEAL, layout.MANIFEST)]
    return copy_files(files, last, destination, destination.sub(release.version))


def copy_files(files: Sequence[ExportedFile], last: Sequence[ExportedFile], destination: Storage, folder: Storage) -> Export:
    """Copy `files`, a few at once, and then `last` in its order; `folder` is the release in `destination`. Raises StorageError as
    `export_release` does."""
    destination.sweep_partials()
    missing = _missing(destination, [*files, *last])
    copied = [file for file in files if file.target in missing]
    for _ in _at_once(lambda file: _copy(destination, file), copied):
        pass
    for file in last:
        if file.target in missing:
            _copy(destination, file)
            copied.append(file)
    num_bytes = sum(file.num_bytes for file in [*files, *last])
    return Export(folder, len(files) + len(last), num_bytes, len(copied), sum(file.num_bytes for file in copied))


def described_file(release: Release, name: str, target: str) -> ExportedFile:
    """The manifest or its seal, which the manifest does not list. Raises StorageError for a manifest that has changed."""
    sha256, num_bytes = release.storage.digest(name)
    if name == layout.MANIFEST and sha256 != release.digest:
        raise StorageError(f"{release.storage.uri(name)!r} has changed since it was read; run the command again.")
    return ExportedFile(release.storage, name, target, sha256, num_bytes)


def _target(release: Release, name: str) -> str:
    """Name of a file in the destination; raises StorageError for a name outside the destination."""
    target = workspace_name(release.version, name).removeprefix(f"{layout.RELEASES_DIR}/")
    if any(part in {"", ".", ".."} for part in target.split("/")):
        raise StorageError(
            f"release {release.version} names {name!r}, which is outside a release; check it with `treeoflife release verify`."
        )
    return target


def _missing(destination: Storage, files: Sequence[ExportedFile]) -> set[str]:
    """Names in the destination of files that do not exist yet; raises StorageError that names existing files with other content."""
    found = list(_at_once(lambda file: _state(destination, file), files))
    others = [file.target for file, state in zip(files, found, strict=True) if state == "other"]
    if others:
        shown = ", ".join(repr(destination.uri(name)) for name in others[:_SHOWN]) + (" ..." if len(others) > _SHOWN else "")
        raise StorageError(
            f"{len(others):,} files at the destination have other content: {shown}; nothing was copied. Remove them, or choose "
            "another destination."
        )
    return {file.target for file, state in zip(files, found, strict=True) if state == "missing"}


def _state(destination: Storage, file: ExportedFile) -> str:
    if not destination.exists(file.target):
        return "missing"
    if destination.num_bytes(file.target) != file.num_bytes:
        return "other"
    return "same" if _digest(destination, file) == file.sha256 else "other"


def _digest(storage: Storage, file: ExportedFile) -> str:
    digest = hashlib.sha256()
    for chunk in _chunks(storage, file.target, file.num_bytes):
        digest.update(chunk)
    return digest.hexdigest()


def _copy(destination: Storage, file: ExportedFile) -> None:
    source = file.source
    if not source.exists(file.name):
        raise StorageError(f"{source.uri(file.name)!r} is missing; {_remedy(source)}")
    digest = hashlib.sha256()
    with destination.writer(file.target) as sink:
        for chunk in _chunks(source, file.name, file.num_bytes):
            sink.write(chunk)
            digest.update(chunk)
        if digest.hexdigest() != file.sha256 or source.num_bytes(file.name) != file.num_bytes:
            raise StorageError(f"{source.uri(file.name)!r} does not match the manifest; {_remedy(source)}")


def _chunks(storage: Storage, name: str, num_bytes: int) -> Iterator[bytes]:
    """The file by range requests, since each of them can be retried."""
    for start in range(0, num_bytes, _CHUNK_BYTES):
        yield storage.read_range(name, start, min(start + _CHUNK_BYTES, num_bytes))


def _remedy(source: Storage) -> str:
    return f"check the release with `treeoflife release verify {source.root} --deep`. Copied files are kept."


def _at_once(function: Callable[[ExportedFile], T], files: Sequence[ExportedFile]) -> Iterator[T]:
    """Results in order, a few at a time; the first failure stops it, and no further call is started."""
    pool = ThreadPoolExecutor(_FILES_AT_ONCE)
    try:
        yield from pool.map(function, files)
    finally:
        pool.shutdown(cancel_futures=True)
