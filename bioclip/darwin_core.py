"""Darwin Core Archives: the layout in meta.xml and streamed rows of the tables it describes.

Follows the Darwin Core text guide (https://dwc.tdwg.org/text/): defaults of absent attributes, columns by index, terms with
a default value only, enclosed and plain fields. Beyond it, what real archives need: a byte order mark decides the encoding,
literal escapes such as `\\t` in attributes, terminators that the file does not hold, short and long lines, one folder around
everything, and an archive of a single headed table without meta.xml.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple
from xml.parsers import expat

from bioclip.errors import ArchiveError

META_NAME = "meta.xml"
MAX_FIELD_CHARS = 1 << 24
"""Longest enclosed value; a longer one is an enclosing character that is never closed."""

_PEEK_BYTES = 1 << 16
_DATA_SUFFIXES = {".csv", ".tsv", ".tab", ".txt"}
_ESCAPES = {"\\t": "\t", "\\r": "\r", "\\n": "\n", "\\f": "\f", "\\\\": "\\"}
_READ_ERRORS = (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError)


class FieldLayout(NamedTuple):
    """Where a term's values are: a column from 0, a value for rows that have none, or both."""

    column: int | None
    default: str | None


@dataclass(frozen=True)
class TableLayout:
    """One table of an archive: the core or an extension. `where` names its description in error messages."""

    row_type: str
    files: tuple[str, ...]
    fields: Mapping[str, FieldLayout]
    """By local name of the term; a second term of the same local name goes by its full address."""
    id_index: int | None = None
    """Column of the core's id: of `id` in the core, of `coreid` in an extension."""
    is_core: bool = True
    encoding: str = "utf-8"
    fields_terminated_by: str = ","
    lines_terminated_by: str = "\n"
    fields_enclosed_by: str = '"'
    ignore_header_lines: int = 0
    where: str = ""

    @property
    def kind(self) -> str:
        """Local name of the row type, e.g. `Taxon`."""
        return local_name(self.row_type)

    @property
    def id_key(self) -> str:
        """Key of the core's id in each row."""
        return "id" if self.is_core else "coreid"


@dataclass(frozen=True)
class ArchiveLayout:
    """What meta.xml says."""

    core: TableLayout
    extensions: tuple[TableLayout, ...] = ()
    metadata: str = ""

    def extensions_of(self, kind: str) -> tuple[TableLayout, ...]:
        """The extensions whose row type has this local name, e.g. `VernacularName`."""
        return tuple(table for table in self.extensions if table.kind == kind)


@dataclass
class Archive:
    """An open archive; use `open_archive`."""

    path: Path
    layout: ArchiveLayout
    open: Callable[[str], IO[bytes]]
    """Location in the layout -> binary stream; raises ArchiveError."""

    def rows(self, table: TableLayout) -> Iterator[dict[str, str]]:
        """The rows of all files of `table`, in order."""
        for location in table.files:
            with self.open(location) as stream:
                yield from read_rows(stream, table, f"{self.path.name}:{location}")


@dataclass
class _Element:
    name: str
    attributes: dict[str, str]
    line: int
    text: str = ""
    children: list[_Element] = field(default_factory=list)

    def find_all(self, name: str) -> list[_Element]:
        return [child for child in self.children if child.name == name]


def local_name(term: str) -> str:
    """The last part of a term's address: `http://rs.tdwg.org/dwc/terms/taxonID` and `dwc:taxonID` give `taxonID`."""
    return re.split(r"[/#:]", term.strip())[-1]


def parse_meta(xml: bytes, where: str) -> ArchiveLayout:
    """The layout in a meta.xml; `where` names the file in messages. Raises ArchiveError with file, line and rule."""
    root = _parse_xml(xml, where)
    cores = root.find_all("core")
    if root.name != "archive" or len(cores) != 1:
        raise ArchiveError(
            f"{where} line {root.line}: an <archive> with exactly one <core> is required; found <{root.name}> with {len(cores)}."
        )
    extensions = root.find_all("extension")
    core = _table(cores[0], where, id_required=bool(extensions))
    return ArchiveLayout(core, tuple(_table(e, where, id_required=True) for e in extensions), root.attributes.get("metadata", ""))


def _parse_xml(xml: bytes, where: str) -> _Element:
    parser = expat.ParserCreate(namespace_separator=" ")
    top = _Element("", {}, 0)
    stack = [top]

    def start(name: str, attributes: dict[str, str]) -> None:
        element = _Element(name.rsplit(" ", 1)[-1], attributes, parser.CurrentLineNumber)
        stack[-1].children.append(element)
        stack.append(element)

    def text(data: str) -> None:
        stack[-1].text += data

    def refuse_doctype(*_: object) -> None:
        raise ArchiveError(f"{where} line {parser.CurrentLineNumber}: a document type declaration is not allowed; remove it.")

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: stack.pop()
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse_doctype
    try:
        parser.Parse(xml, True)
    except expat.ExpatError as error:
        raise ArchiveError(f"{where} line {error.lineno}: not well-formed XML ({expat.ErrorString(error.code)}); repair it.") from None
    return top.children[0]


def _table(element: _Element, where: str, id_required: bool) -> TableLayout:
    place = f"{where} line {element.line}"
    files = tuple(loc.text.strip() for part in element.find_all("files") for loc in part.find_all("location") if loc.text.strip())
    if not files:
        raise ArchiveError(f"{place}: <{element.name}> names no file; give it <files><location>…</location></files>.")
    is_core = element.name == "core"
    ids = element.find_all("id" if is_core else "coreid")
    if id_required and not ids:
        raise ArchiveError(
            f"{place}: <{element.name}> needs <{'id' if is_core else 'coreid'} index=…/>, since extensions are joined by it."
        )
    attributes = {name: _unescape(value) for name, value in element.attributes.items()}
    table = TableLayout(
        row_type=attributes.get("rowType", "").strip(),
        files=files,
        fields=_fields(element, where),
        id_index=_index(ids[0], where) if ids else None,
        is_core=is_core,
        encoding=_encoding(attributes.get("encoding", "").strip() or "utf-8", place),
        fields_terminated_by=attributes.get("fieldsTerminatedBy", ","),
        lines_terminated_by=attributes.get("linesTerminatedBy", "\n"),
        fields_enclosed_by=attributes.get("fieldsEnclosedBy", '"'),
        ignore_header_lines=_number(attributes.get("ignoreHeaderLines", "0"), "ignoreHeaderLines", place),
        where=place,
    )
    _check_delimiters(table)
    return table


def _fields(element: _Element, where: str) -> dict[str, FieldLayout]:
    fields: dict[str, FieldLayout] = {}
    for child in element.find_all("field"):
        term = child.attributes.get("term", "").strip()
        if not term:
            raise ArchiveError(f"{where} line {child.line}: <field> has no term; name one or remove the field.")
        name = local_name(term)
        fields.setdefault(term if name in fields else name, FieldLayout(_index(child, where), child.attributes.get("default")))
    return fields


def _index(element: _Element, where: str) -> int | None:
    text = element.attributes.get("index", "").strip()
    return _number(text, f"index of <{element.name}>", f"{where} line {element.line}") if text else None


def _number(text: str, what: str, place: str) -> int:
    if not text.strip().isdecimal():
        raise ArchiveError(f"{place}: {what} is {text!r}; it must be a whole number from 0.")
    return int(text)


def _encoding(name: str, place: str) -> str:
    try:
        "".encode(name)
    except (LookupError, ValueError):
        raise ArchiveError(f"{place}: encoding {name!r} is unknown; name one such as UTF-8.") from None
    return codecs.lookup(name).name


def _unescape(value: str) -> str:
    return re.sub(r"\\[trnf\\]", lambda match: _ESCAPES[match.group()], value)


def _check_delimiters(table: TableLayout) -> None:
    if not table.fields_terminated_by or not table.lines_terminated_by:
        raise ArchiveError(f"{table.where}: fieldsTerminatedBy and linesTerminatedBy must not be empty.")
    if table.fields_enclosed_by and (len(table.fields_enclosed_by) > 1 or len(table.fields_terminated_by) > 1):
        given = f"{table.fields_enclosed_by!r} and {table.fields_terminated_by!r}"
        raise ArchiveError(f"{table.where}: fieldsEnclosedBy and fieldsTerminatedBy are {given}; enclosed fields allow one character each.")


def read_rows(stream: IO[bytes], table: TableLayout, where: str = "") -> Iterator[dict[str, str]]:
    """Each row as local term name -> value; the core's id is under `id` (core) or `coreid` (extension).

    Absent values are the term's default or empty; columns beyond the layout are ignored; blank lines are skipped. Bytes that
    the encoding does not have become U+FFFD, so that the row is kept and the damage seen. `stream` is closed at the end.
    Raises ArchiveError.
    """
    named = [(name, at.column, at.default) for name, at in table.fields.items()]
    if table.id_index is not None:
        named.insert(0, (table.id_key, table.id_index, None))
    columns = [(name, index) for name, index, _ in named if index is not None]
    names, width = [name for name, _ in columns], max((index for _, index in columns), default=-1) + 1
    indices = [index for _, index in columns]
    constants = {name: default or "" for name, index, default in named if index is None}
    defaults = [(name, default) for name, index, default in named if index is not None and default]
    for values in _split_rows(stream, table, where or table.where):
        if len(values) < width:
            values += [""] * (width - len(values))
        row = dict(zip(names, [values[index] for index in indices], strict=True))
        for name, default in defaults:
            row[name] = row[name] or default
        row.update(constants)
        yield row


def _split_rows(stream: IO[bytes], table: TableLayout, where: str) -> Iterator[list[str]]:
    number = 0
    try:
        lines = _lines(stream, table)
        for _ in range(table.ignore_header_lines):
            next(lines, None)
            number += 1
        if table.fields_enclosed_by:
            csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD_CHARS))
            reader = csv.reader(lines, delimiter=table.fields_terminated_by, quotechar=table.fields_enclosed_by, doublequote=True)
            for row in reader:
                number = table.ignore_header_lines + reader.line_num
                if row:
                    yield row
            return
        delimiter = table.fields_terminated_by
        for line in lines:
            number += 1
            if line:
                yield line.split(delimiter)
    except csv.Error as error:
        raise ArchiveError(f"{where} line {number + 1}: {error}; check fieldsEnclosedBy and unclosed quotes.") from None
    except _READ_ERRORS as error:
        raise ArchiveError(f"{where} line {number + 1}: the file cannot be read further ({error}); get the archive again.") from None


def _lines(stream: IO[bytes], table: TableLayout) -> Iterator[str]:
    """Lines of text: without their end when plain, with it when enclosed (it may be part of a value)."""
    buffered = io.BufferedReader(stream, _PEEK_BYTES)  # type: ignore[type-var]
    start = buffered.peek(_PEEK_BYTES)
    encoding = "utf-8-sig" if table.encoding == "utf-8" or start.startswith(codecs.BOM_UTF8) else table.encoding
    terminator, is_enclosed = table.lines_terminated_by, bool(table.fields_enclosed_by)
    is_held = terminator in start.decode(encoding, "ignore")
    is_usual = terminator in {"\n", "\r", "\r\n"} or not is_held
    newline = "" if is_enclosed or not is_usual else terminator if is_held else None
    with io.TextIOWrapper(buffered, encoding, "replace", newline=newline) as text:
        if not is_usual:
            yield from _divide(text, terminator)
        elif is_enclosed:
            yield from text
        else:
            for line in text:
                yield line.rstrip("\r\n")


def _divide(text: io.TextIOWrapper, terminator: str) -> Iterator[str]:
    rest = ""
    while chunk := text.read(_PEEK_BYTES):
        *whole, rest = (rest + chunk).split(terminator)
        yield from whole
    if rest.strip("\r\n"):
        yield rest


@contextmanager
def open_archive(path: Path | str) -> Iterator[Archive]:
    """An archive in a zip file or a folder, possibly below one single folder; its core files are there when this returns.

    Raises ArchiveError for a missing or damaged archive, unsafe member names, a malformed meta.xml and absent core files.
    """
    path = Path(path)
    if path.is_dir():
        yield _archive(
            path, sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()), lambda n: (path / n).open("rb")
        )
        return
    try:
        zipped = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise ArchiveError(f"archive {str(path)!r} does not exist; check its path.") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise ArchiveError(f"archive {str(path)!r} is neither a folder nor a readable zip file ({error}); get it again.") from None
    with zipped:
        yield _archive(path, [info.filename for info in zipped.infolist() if not info.is_dir()], lambda n: zipped.open(n))


def _archive(path: Path, names: list[str], read: Callable[[str], IO[bytes]]) -> Archive:
    for name in names:
        _check_safe(name, f"archive {str(path)!r}")
    shown = [name for name in names if not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)]
    tops = {PurePosixPath(name).parts[0] for name in shown}
    base = f"{tops.pop()}/" if META_NAME not in shown and len(tops) == 1 and all("/" in name for name in shown) else ""

    def open_location(location: str) -> IO[bytes]:
        _check_safe(location, f"{path.name}:{META_NAME}")
        if base + location not in names:
            raise ArchiveError(f"{path.name}:{META_NAME} names the file {location!r}, which the archive does not hold; get it again.")
        try:
            return read(base + location)
        except _READ_ERRORS as error:
            raise ArchiveError(f"{path.name}:{location} cannot be read ({error}); get the archive again.") from None

    if base + META_NAME in names:
        with open_location(META_NAME) as stream:
            layout = parse_meta(_read_whole(stream, path), f"{path.name}:{META_NAME}")
    else:
        layout = _headed_layout(path, [name.removeprefix(base) for name in shown], open_location)
    for location in layout.core.files:
        open_location(location).close()
    return Archive(path, layout, open_location)


def _read_whole(stream: IO[bytes], path: Path) -> bytes:
    try:
        return stream.read()
    except _READ_ERRORS as error:
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
        line = stream.readline(_PEEK_BYTES).decode("utf-8-sig", "replace").rstrip("\r\n")
    delimiter = max("\t,;|", key=line.count)
    header = next(csv.reader([line], delimiter=delimiter), [])
    fields = {local_name(term): FieldLayout(index, None) for index, term in enumerate(header) if term.strip()}
    if not fields:
        raise ArchiveError(f"{path.name}:{tables[0]} line 1: a header of Darwin Core terms is required when there is no {META_NAME}.")
    kind = "Occurrence" if "occurrenceID" in fields or "basisOfRecord" in fields else "Taxon"
    enclosed = "" if delimiter == "\t" and '"' not in line else '"'
    row_type, where = f"http://rs.tdwg.org/dwc/terms/{kind}", f"{path.name}:{tables[0]} line 1"
    core = TableLayout(row_type, (tables[0],), fields, 0, True, "utf-8", delimiter, "\n", enclosed, 1, where)
    return ArchiveLayout(core)
