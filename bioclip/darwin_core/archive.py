"""Archives in zip files and folders."""

from __future__ import annotations

import gzip
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

import pyarrow as pa

from bioclip.darwin_core.layout import ArchiveLayout, FieldLayout, TableLayout, parse_meta
from bioclip.darwin_core.tables import read_rows, read_tables
from bioclip.delimited.damage import DamageLog
from bioclip.delimited.dialects import Dialect, guess_delimiter
from bioclip.delimited.headers import local_name
from bioclip.delimited.reading import READ_ERRORS
from bioclip.delimited.scanning import split_line
from bioclip.errors import ArchiveError

META_NAME = "meta.xml"

_MAX_HEADER_BYTES = 1 << 16
_DATA_SUFFIXES = {".csv", ".tsv", ".tab", ".txt"}


@dataclass
class Archive:
    """An open archive; use `open_archive`."""

    path: Path
    layout: ArchiveLayout
    open: Callable[[str], IO[bytes]]
    """Location in the layout -> binary stream; raises ArchiveError."""
    member: Callable[[str], str]
    """Location -> the member's own name in the archive; empty where there is none."""

    def rows(self, table: TableLayout, log: DamageLog | None = None) -> Iterator[dict[str, str]]:
        """The rows of all files of `table`, in order."""
        for location in table.files:
            with self.open(location) as stream:
                yield from read_rows(stream, table, f"{self.path.name}:{location}", log)

    def tables(self, table: TableLayout, terms: Sequence[str], log: DamageLog | None = None) -> Iterator[pa.Table]:
        """Columns `terms` of all files of `table` as Arrow batches of strings, in order; see `read_tables`."""
        for location in table.files:
            with self.open(location) as stream:
                yield from read_tables(stream, table, terms, f"{self.path.name}:{location}", log)


@contextmanager
def open_archive(path: Path | str) -> Iterator[Archive]:
    """An archive in a zip file or a folder, possibly below one single folder, or a single headed table; its core files are there
    when this returns.

    Raises ArchiveError for a missing or damaged archive, unsafe member names, a malformed meta.xml and absent core files.
    """
    path = Path(path)
    if path.is_dir():
        yield _archive(
            path, sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()), lambda n: (path / n).open("rb")
        )
        return
    if path.is_file() and path.suffix.lower() in _DATA_SUFFIXES:
        yield _archive(path, [path.name], lambda n: (path.parent / n).open("rb"))
        return
    try:
        zipped = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise ArchiveError(f"archive {str(path)!r} does not exist; check its path.") from None
    except (OSError, zipfile.BadZipFile) as error:
        if path.is_file() and tarfile.is_tarfile(path):
            raise ArchiveError(f"archive {str(path)!r} is a tar file; unpack it and name the folder, or zip it.") from None
        raise ArchiveError(f"archive {str(path)!r} is neither a folder nor a readable zip file ({error}); get it again.") from None
    with zipped:
        yield _archive(path, [info.filename for info in zipped.infolist() if not info.is_dir()], lambda n: zipped.open(n))


def _archive(path: Path, names: list[str], read: Callable[[str], IO[bytes]]) -> Archive:
    for name in names:
        _check_safe(name, f"archive {str(path)!r}")
    members = _Members(names)

    def open_location(location: str) -> IO[bytes]:
        _check_safe(location, f"{path.name}:{META_NAME}")
        if not (name := members.find(location)):
            raise ArchiveError(f"{path.name}:{META_NAME} names the file {location!r}, which the archive does not hold; get it again.")
        try:
            stream = read(name)
            return cast(IO[bytes], _Unzipped(stream)) if name.lower().endswith(".gz") else stream
        except READ_ERRORS as error:
            raise ArchiveError(f"{path.name}:{location} cannot be read ({error}); get the archive again.") from None

    if members.has_meta:
        with open_location(META_NAME) as stream:
            layout = parse_meta(_read_whole(stream, path), f"{path.name}:{META_NAME}")
    else:
        layout = _headed_layout(path, members.shown, open_location)
    for location in layout.core.files:
        open_location(location).close()
    return Archive(path, layout, open_location, members.find)


class _Unzipped(gzip.GzipFile):
    """A gzipped stream that is closed with its content."""

    def __init__(self, packed: IO[bytes]) -> None:
        super().__init__(fileobj=packed)
        self._packed = packed

    def close(self) -> None:
        super().close()
        self._packed.close()


class _Members:
    """The files of an archive by the names that its meta.xml gives them: below the folder of meta.xml."""

    def __init__(self, names: list[str]) -> None:
        plain = {_plain_name(name): name for name in reversed(names)}
        self._names = {
            name: member for name, member in plain.items() if not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
        }
        metas = [name for name in self._names if PurePosixPath(name).name.lower() == META_NAME]
        metas.sort(key=lambda name: (name.count("/"), name))
        self.has_meta = bool(metas)
        if metas:
            self._base = metas[0][: -len(META_NAME)]
        else:
            tops = {PurePosixPath(name).parts[0] for name in self._names}
            self._base = f"{next(iter(tops))}/" if len(tops) == 1 and all("/" in name for name in self._names) else ""
        self._by_case = {name.casefold(): member for name, member in reversed(list(self._names.items()))}
        self.shown = [name.removeprefix(self._base) for name in self._names]

    def find(self, location: str) -> str:
        """The member at a location, also with `.gz`, in another case, or alone of its name in another folder; empty where there is none."""
        name = _plain_name(location)
        for candidate in (self._base + name, f"{self._base}{name}.gz", name):
            if candidate.casefold() in self._by_case:
                return self._names.get(candidate) or self._by_case[candidate.casefold()]
        endings = tuple(f"/{ending}".casefold() for ending in (name, f"{name}.gz"))
        found = [member for known, member in self._by_case.items() if f"/{known}".endswith(endings)]
        return found[0] if len(found) == 1 else ""


def _plain_name(name: str) -> str:
    """A member's name with `/` between its folders and without `./` before it."""
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in {"", "."})


def _read_whole(stream: IO[bytes], path: Path) -> bytes:
    try:
        return stream.read()
    except READ_ERRORS as error:
        raise ArchiveError(f"{path.name}:{META_NAME} cannot be read ({error}); get the archive again.") from None


def _check_safe(name: str, where: str) -> None:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or ".." in parts or parts[0] == "/" or ":" in parts[0]:
        raise ArchiveError(f"{where} names the file {name!r}; only relative names without '..' are allowed.")


def _headed_layout(path: Path, names: Iterable[str], read: Callable[[str], IO[bytes]]) -> ArchiveLayout:
    """An archive without meta.xml is one table whose first line names its terms."""
    tables = [name for name in names if PurePosixPath(name).suffix.lower() in _DATA_SUFFIXES]
    if len(tables) != 1:
        raise ArchiveError(f"archive {str(path)!r} has no {META_NAME} and {len(tables)} tables; without it exactly one is allowed.")
    with read(tables[0]) as stream:
        line = re.split(r"[\r\n]", stream.read(_MAX_HEADER_BYTES).decode("utf-8-sig", "replace"), maxsplit=1)[0]
    delimiter = guess_delimiter(line)
    header = split_line(line, Dialect(delimiter))
    fields = {local_name(term): FieldLayout(index, None) for index, term in enumerate(header) if term.strip()}
    if not fields:
        raise ArchiveError(f"{path.name}:{tables[0]} line 1: a header of Darwin Core terms is required when there is no {META_NAME}.")
    kind = "Occurrence" if "occurrenceID" in fields or "basisOfRecord" in fields else "Taxon"
    enclosed = "" if delimiter == "\t" and '"' not in line else '"'
    row_type, where = f"http://rs.tdwg.org/dwc/terms/{kind}", f"{path.name}:{tables[0]} line 1"
    core = TableLayout(row_type, (tables[0],), fields, 0, True, "utf-8", delimiter, "\n", enclosed, 1, where)
    return ArchiveLayout(core)
