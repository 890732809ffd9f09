"""Darwin Core Archives: the layout in meta.xml and streamed rows of the tables it describes.

Follows the Darwin Core text guide (https://dwc.tdwg.org/text/): defaults of absent attributes, columns by index, terms with
a default value only, enclosed and plain fields. Beyond it, what real archives need: a byte order mark decides the encoding,
literal escapes such as `\\t` in attributes, terminators that the file does not hold, short and long lines, one folder around
everything, and an archive of a single headed table without meta.xml.
"""

from __future__ import annotations

from bioclip.darwin_core.archive import Archive, open_archive
from bioclip.darwin_core.layout import ArchiveLayout, FieldLayout, TableLayout, parse_meta
from bioclip.darwin_core.tables import read_rows, read_tables

__all__ = [
    "Archive",
    "ArchiveLayout",
    "FieldLayout",
    "TableLayout",
    "open_archive",
    "parse_meta",
    "read_rows",
    "read_tables",
]
