"""What a meta.xml says: the tables of an archive, their columns and how their text is cut up.

Absent attributes have the defaults of the Darwin Core text guide (https://dwc.tdwg.org/text/).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from xml.parsers import expat

from bioclip.delimited.headers import local_name
from bioclip.errors import ArchiveError

_ESCAPES = {"t": "\t", "r": "\r", "n": "\n", "f": "\f", "\\": "\\"}


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
    def width(self) -> int:
        """Number of columns that the layout names."""
        return max((place for place in (self.id_index, *(at.column for at in self.fields.values())) if place is not None), default=-1) + 1

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
class _Element:
    name: str
    attributes: dict[str, str]
    line: int
    text: str = ""
    children: list[_Element] = field(default_factory=list)

    def find_all(self, name: str) -> list[_Element]:
        return [child for child in self.children if child.name == name]


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
        row_type=re.sub("^https:", "http:", attributes.get("rowType", "").strip()),
        files=files,
        fields=_fields(element, where),
        id_index=_index(ids[0], where) if ids else None,
        is_core=is_core,
        encoding=_encoding(attributes.get("encoding", "").strip() or "utf-8", place),
        fields_terminated_by=attributes.get("fieldsTerminatedBy", ","),
        lines_terminated_by=attributes.get("linesTerminatedBy", "\n"),
        fields_enclosed_by=attributes.get("fieldsEnclosedBy", '"'),
        ignore_header_lines=_number(attributes.get("ignoreHeaderLines", "").strip() or "0", "ignoreHeaderLines", place),
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
    return re.sub(r"\\(?:([trnf\\])|(?:u00|x)([0-9A-Fa-f]{2}))", lambda at: _ESCAPES[at[1]] if at[1] else chr(int(at[2], 16)), value)


def _check_delimiters(table: TableLayout) -> None:
    if not table.fields_terminated_by or not table.lines_terminated_by:
        raise ArchiveError(f"{table.where}: fieldsTerminatedBy and linesTerminatedBy must not be empty.")
    if table.fields_enclosed_by and (len(table.fields_enclosed_by) > 1 or len(table.fields_terminated_by) > 1):
        given = f"{table.fields_enclosed_by!r} and {table.fields_terminated_by!r}"
        raise ArchiveError(f"{table.where}: fieldsEnclosedBy and fieldsTerminatedBy are {given}; enclosed fields allow one character each.")
