"""Backbones as one plain table, for lists from people or other programs: CSV, TSV or Parquet.

Columns: id and scientific_name are required; optional are parent_id, accepted_id, authorship, canonical_name, rank,
status, kingdom, phylum, class, order, family, genus.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip.delimited.dialects import Dialect
from bioclip.delimited.headers import repeated_column
from bioclip.delimited.reading import Column, DelimitedTable
from bioclip.errors import ArchiveError, BackboneError
from bioclip.taxonomy.backbones.archives import Pack
from bioclip.taxonomy.backbones.dwca import header_terms
from bioclip.taxonomy.backbones.usages import Backbone, Usage, usage_table

REQUIRED = ("id", "scientific_name")
_FIELDS = {{"taxon_id": "id", "class_": "class"}.get(field, field): field for field in Usage._fields}
_BATCH_ROWS = 50_000


class TableBackbone(Backbone):
    """One file, recognised by its suffix."""

    format: ClassVar[str] = "table"

    @classmethod
    def fits(cls, pack: Pack) -> bool:
        """One Parquet file, or one table whose header has id and scientific_name."""
        if len(pack.names) != 1 or pack.path.is_dir():
            return False
        return pack.path.suffix.lower() == ".parquet" or set(REQUIRED) <= header_terms(pack)

    def tables(self) -> Iterator[pa.Table]:
        """All rows."""
        try:
            yield from self._parquet() if self.path.suffix.lower() == ".parquet" else self._text()
        except ArchiveError as error:
            raise BackboneError(str(error)) from None
        except (OSError, pa.ArrowException) as error:
            raise BackboneError(f"backbone {str(self.path)!r} cannot be read: {error}; it must be UTF-8 CSV, TSV or Parquet.") from None

    def _text(self) -> Iterator[pa.Table]:
        with self.path.open("rb") as stream:
            delimiter = "\t" if "\t" in self.pack.first_line(next(iter(self.pack.names))) else ","
            table = DelimitedTable(stream, f"backbone {str(self.path)!r}", Dialect(delimiter), is_padded=True)
            header = self._checked([name.strip() for name in table.header])
            for rows in table.tables({name: Column(place) for place, name in enumerate(header)}):
                yield self._usages(dict(zip(header, rows.columns, strict=True)), rows.num_rows)

    def _parquet(self) -> Iterator[pa.Table]:
        with pq.ParquetFile(self.path) as file:
            header = self._checked(file.schema_arrow.names)
            for batch in file.iter_batches(_BATCH_ROWS):
                columns = {name: pc.fill_null(batch.column(name).cast(pa.string()), "") for name in header}
                yield self._usages(columns, batch.num_rows)

    def _usages(self, columns: dict[str, pa.Array], num_rows: int) -> pa.Table:
        return usage_table(num_rows, {_FIELDS[name]: pc.utf8_trim_whitespace(values) for name, values in columns.items()})

    def _checked(self, header: list[str]) -> list[str]:
        where, known = f"backbone {str(Path(self.path))!r} line 1", ", ".join(_FIELDS)
        if missing := [name for name in REQUIRED if name not in header]:
            raise BackboneError(f"{where}: no column {missing[0]!r}; known columns: {known}.")
        if unknown := sorted(set(header) - set(_FIELDS)):
            raise BackboneError(f"{where}: unknown column {unknown[0]!r}; known columns: {known}.")
        if twice := repeated_column(header):
            raise BackboneError(f"{where}: column {twice!r} is given twice; known columns: {known}.")
        return header
