"""Files that hold one table or one document, compressed or not, and the rows of delimited text."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import IO, Any, cast

from bioclip.errors import ArchiveError

READ_ERRORS = (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError)
"""What a damaged, encrypted or truncated file raises while it is read."""

_MAX_FIELD_CHARS = 1 << 24


def suffix_of(path: Path) -> str:
    """The suffix that says the format, in lower case: that before `.gz`."""
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


@contextmanager
def open_content(path: Path, suffixes: Collection[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """(where, stream) of a plain or gzipped file, or of the one member of a zip file that has one of `suffixes`.

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
        raise ArchiveError(f"{str(path)!r} cannot be opened ({error}); get it again or correct the setting.") from None
    with zipped:
        members = [info for info in zipped.infolist() if Path(info.filename).suffix.lower() in suffixes]
        members = [info for info in members if not info.filename.startswith("__MACOSX/")]
        if len(members) != 1:
            raise ArchiveError(f"{str(path)!r} holds {len(members)} files of {', '.join(sorted(suffixes))}; exactly one is required.")
        where = f"{path}:{members[0].filename}"
        try:
            opened = zipped.open(members[0])
        except READ_ERRORS as error:
            raise ArchiveError(f"{where} cannot be opened ({error}); get it again.") from None
        with opened:
            yield where, opened


def read_delimited(
    stream: IO[bytes], where: str, *, delimiter: str, quote: str = "", required: Collection[str] = (), encoding: str = "utf-8-sig"
) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, column -> value) of a table whose first line names its columns; blank lines are skipped.

    With an empty `quote` the text is split as it stands, so quotes may occur in names. Raises ArchiveError with file, line and rule.
    `stream` is closed at the end.
    """
    number = 0
    try:
        with io.TextIOWrapper(stream, encoding=encoding, newline="" if quote else "\n") as text:
            rows = _quoted_rows(text, delimiter, quote) if quote else _plain_rows(text, delimiter)
            number, header = next(rows, (1, []))
            _check_header(header, required, f"{where}, line {number}")
            for number, values in rows:
                if len(values) != len(header):
                    raise ArchiveError(f"{where}, line {number}: {len(values)} fields where the header has {len(header)}.")
                yield number, dict(zip(header, values, strict=True))
    except csv.Error as error:
        raise ArchiveError(f"{where}, line {number + 1}: not text separated by {delimiter!r}, quoted by {quote!r}: {error}.") from None
    except UnicodeDecodeError as error:
        raise ArchiveError(
            f"{where}, line {number + 1} or soon after: not {encoding.removesuffix('-sig')} text ({error.reason})."
        ) from None
    except READ_ERRORS as error:
        raise ArchiveError(f"{where}, line {number + 1}: the file cannot be read further ({error}); get it again.") from None


def _check_header(header: list[str], required: Collection[str], where: str) -> None:
    if missing := [column for column in required if column not in header]:
        raise ArchiveError(f"{where}: column {missing[0]!r} is missing; the header must hold {', '.join(required)}.")
    if twice := sorted({column for column in header if header.count(column) > 1}):
        raise ArchiveError(f"{where}: column {twice[0]!r} is there twice; each needs a name of its own.")


def _plain_rows(text: IO[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text, 1):
        if len(line) > _MAX_FIELD_CHARS:
            raise csv.Error(f"a line of {len(line)} characters")
        if line := line.rstrip("\r\n"):
            yield number, line.split(delimiter)


def _quoted_rows(text: IO[str], delimiter: str, quote: str) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_FIELD_CHARS))
    reader = csv.reader(text, delimiter=delimiter, quotechar=quote, doublequote=True)
    for values in reader:
        if values:
            yield reader.line_num, values


def as_text(value: Any) -> str:
    """A JSON or Parquet value as a text column would hold it: absent as nothing, whole floats without a point, ISO dates, JSON lists.

    Half a surrogate pair, which JSON can hold and text cannot, becomes U+FFFD.
    """
    if type(value) is str:
        return value if value.isascii() else value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        return str(int(value))
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, date):
        return value.isoformat()
    return str(value)
