"""The files of a download: a folder, a zip, a tar, or one file that may be gzipped."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO

import pyarrow as pa

from bioclip.delimited.damage import DamageLog
from bioclip.delimited.dialects import Dialect
from bioclip.delimited.headers import place_of
from bioclip.delimited.reading import READ_ERRORS as FILE_ERRORS
from bioclip.delimited.reading import Column, DelimitedTable
from bioclip.errors import BackboneError

READ_ERRORS = (*FILE_ERRORS, tarfile.TarError)
_HEADER_BYTES = 1 << 16
_GZIP = b"\x1f\x8b"
_KINDS = "a folder, a zip, a tar (also gzipped) or a plain or gzipped file"


@dataclass(frozen=True)
class Pack:
    """A download. Members are named by their base names in lower case; if two have the same name, the one nearer the top is used."""

    path: Path
    log: DamageLog = field(default_factory=DamageLog, compare=False, repr=False)
    """Damaged rows of the members that were read."""

    @cached_property
    def names(self) -> dict[str, str]:
        """Base name in lower case -> member; without `.gz`. Raises BackboneError if the download cannot be read."""
        with self._explained("its list of files"):
            members = sorted(self._members(), key=lambda name: (name.count("/"), name))
        shown = [name for name in members if not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)]
        return {PurePosixPath(name).name.lower().removesuffix(".gz"): name for name in reversed(shown)}

    def find(self, *names: str) -> str:
        """The first existing member of `names` (base names, any case), in lower case, or an empty string."""
        present = self.names
        return next((name.lower() for name in names if name.lower() in present), "")

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """A member by its base name, unzipped; raises BackboneError when it is absent or damaged."""
        members = self.names
        if name.lower() not in members:
            raise BackboneError(f"{str(self.path)!r} holds no {name}; it holds {', '.join(sorted(members)[:12]) or 'nothing'}.")
        with self._explained(name), self._stream(members[name.lower()]) as stream:
            yield stream

    def first_line(self, name: str) -> str:
        """The first line of a member; empty if the member is absent, empty or not text."""
        if name.lower() not in self.names:
            return ""
        with self.open(name) as stream:
            start = stream.read(_HEADER_BYTES)
        return "" if b"\0" in start or not start else start.splitlines()[0].decode("utf-8-sig", "replace")

    def tables(
        self, name: str, terms: Sequence[str], header: Sequence[str] = (), delimiter: str = "\t", quote: str = ""
    ) -> Iterator[pa.Table]:
        """Columns `terms` of a delimited member as tables of strings; missing columns are empty.

        Without `header`, the first line names the columns, by their names after any `prefix:`, in any case.
        """
        with self.open(name) as stream:
            table = DelimitedTable(
                stream,
                f"{self.path.name}:{name}",
                Dialect(delimiter, quote),
                self.log,
                num_header_lines=0 if header else 1,
                is_padded=True,
                min_width=len(header),
            )
            names = list(header) or table.header
            yield from table.tables({term: Column(place_of(names, term)) for term in terms})

    def _members(self) -> list[str]:
        if self.path.is_dir():
            return [path.relative_to(self.path).as_posix() for path in self.path.rglob("*") if path.is_file()]
        if zipfile.is_zipfile(self.path):
            with zipfile.ZipFile(self.path) as archive:
                return [info.filename for info in archive.infolist() if not info.is_dir()]
        if tarfile.is_tarfile(self.path):
            with tarfile.open(self.path) as archive:
                return [member.name for member in archive if member.isfile()]
        if self.path.name.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz")):
            raise zipfile.BadZipFile("it is neither a zip nor a tar")
        return [self.path.name]

    @contextmanager
    def _stream(self, member: str) -> Iterator[IO[bytes]]:
        if not self.path.is_dir() and zipfile.is_zipfile(self.path):
            with zipfile.ZipFile(self.path) as archive, archive.open(member) as stream:
                yield from _unzipped(stream, member)
        elif not self.path.is_dir() and tarfile.is_tarfile(self.path):
            with tarfile.open(self.path) as packed:
                extracted = packed.extractfile(member)
                if extracted is None:
                    raise KeyError(member)
                with extracted as stream:
                    yield from _unzipped(stream, member)
        else:
            path = self.path / member if self.path.is_dir() else self.path
            with path.open("rb") as stream:
                yield from _unzipped(stream, member)

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        try:
            yield
        except READ_ERRORS as error:
            raise BackboneError(f"{name} of {str(self.path)!r} cannot be read: {error}; download it again, as {_KINDS}.") from None


def _unzipped(stream: IO[bytes], member: str) -> Iterator[IO[bytes]]:
    if not member.lower().endswith(".gz"):
        yield stream
        return
    with gzip.open(stream) as plain:
        yield plain  # type: ignore[misc]
