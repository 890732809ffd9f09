"""Files that hold one table or one document, compressed or not."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from bioclip.delimited.reading import READ_ERRORS
from bioclip.errors import ArchiveError


def suffix_of(path: Path) -> str:
    """The suffix of the format in lower case, without `.gz`."""
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


@contextmanager
def open_content(path: Path, suffixes: Collection[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """(place for messages, stream) of a plain or gzipped file, or of the one member of a zip file that has one of `suffixes`.

    Raises ArchiveError for what cannot be opened; errors while reading are the caller's.
    """
    try:
        if path.suffix.lower() != ".zip":
            with path.open("rb") if path.suffix.lower() != ".gz" else gzip.open(path, "rb") as stream:
                yield str(path), cast("IO[bytes]", stream)
            return
        zipped = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise ArchiveError(f"{str(path)!r} does not exist; download it or correct the setting.") from None
    except (IsADirectoryError, PermissionError, zipfile.BadZipFile) as error:
        raise ArchiveError(f"{str(path)!r} cannot be opened ({error}); download it again or correct the setting.") from None
    with zipped:
        members = [info for info in zipped.infolist() if Path(info.filename).suffix.lower() in suffixes]
        members = [info for info in members if not info.filename.startswith("__MACOSX/")]
        if len(members) != 1:
            raise ArchiveError(f"{str(path)!r} holds {len(members)} files of {', '.join(sorted(suffixes))}; exactly one is required.")
        where = f"{path}:{members[0].filename}"
        try:
            opened = zipped.open(members[0])
        except READ_ERRORS as error:
            raise ArchiveError(f"{where} cannot be opened ({error}); download it again.") from None
        with opened:
            yield where, opened
