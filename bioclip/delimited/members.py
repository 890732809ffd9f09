"""Files of a provider's export in a folder, a zip or a tar."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, cast

from bioclip.delimited.reading import READ_ERRORS
from bioclip.errors import ArchiveError


def iterate_members(path: Path, suffix: str, what: str) -> Iterator[tuple[str, IO[bytes]]]:
    """(place for messages, stream) of every file whose name ends in `suffix`: a folder's sorted by name, a tar's in stored order.

    Each stream is valid until the next is requested. Raises ArchiveError if `path` is neither a folder nor a readable tar.
    """
    if path.is_dir():
        for file in sorted(path.rglob(f"*{suffix}")):
            with file.open("rb") as stream:
                yield str(file), stream
        return
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                if member.isfile() and member.name.endswith(suffix):
                    content = archive.extractfile(member)
                    assert content is not None
                    yield f"{path}:{member.name}", content
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ArchiveError(f"{str(path)!r} cannot be read as {what}: {error}; download it again.") from None


@contextmanager
def open_member(path: Path, name: str) -> Iterator[tuple[str, IO[bytes]]]:
    """(place for messages, stream) of the one file called `name`, or `name.gz`, in a folder, a zip or a tar.

    Raises ArchiveError if there is no such file or it cannot be read.
    """
    names = (name, f"{name}.gz")
    try:
        if path.is_dir():
            found = sorted(place for place in path.rglob("*") if place.name in names)
            if found:
                with found[0].open("rb") as file, _unzipped(found[0].name, file) as content:
                    yield str(found[0]), content
                    return
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for entry in archive.namelist():
                    if PurePosixPath(entry).name in names:
                        with archive.open(entry) as stream, _unzipped(entry, stream) as content:
                            yield f"{path}:{entry}", content
                            return
        else:
            with tarfile.open(path, "r|*") as tar:
                for member in tar:
                    if member.isfile() and PurePosixPath(member.name).name in names:
                        with _unzipped(member.name, cast(IO[bytes], tar.extractfile(member))) as content:
                            yield f"{path}:{member.name}", content
                            return
    except (tarfile.TarError, *READ_ERRORS) as error:
        raise ArchiveError(f"{str(path)!r} cannot be read as a folder, zip or tar: {error}; download it again.") from None
    raise ArchiveError(f"{str(path)!r} has no file {name!r} or {name}.gz; add it or download the export again.")


def _unzipped(name: str, stream: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], gzip.GzipFile(fileobj=stream)) if name.endswith(".gz") else stream
