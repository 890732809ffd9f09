"""Backbones as one plain table, for lists made by hand or by another program: CSV, TSV or Parquet.

Columns: id and scientific_name, and of the others what there is: parent_id, accepted_id, authorship, canonical_name, rank,
status, kingdom, phylum, class, order, family, genus.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bioclip.errors import BackboneError
from bioclip.taxonomy.backbones.usages import Usage, Vernacular

REQUIRED = ("id", "scientific_name")
_FIELDS = {field: {"taxon_id": "id", "class_": "class"}.get(field, field) for field in Usage._fields}


@dataclass(frozen=True)
class TableBackbone:
    """One file; its suffix says what it is."""

    path: Path

    def usages(self) -> Iterator[Usage]:
        """All rows."""
        try:
            rows = _parquet_rows(self.path) if self.path.suffix.lower() == ".parquet" else _text_rows(self.path)
            header = next(rows)
            columns = _columns(self.path, header)
            for row in rows:
                yield Usage(**{field: row[index].strip() if index < len(row) else "" for field, index in columns.items()})
        except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
            raise BackboneError(f"backbone {str(self.path)!r} cannot be read: {error}; it must be UTF-8 CSV, TSV or Parquet.") from None

    def vernaculars(self) -> Iterator[Vernacular]:
        """None: a plain table has no place for them."""
        return iter(())


def _columns(path: Path, header: list[str]) -> dict[str, int]:
    if missing := [name for name in REQUIRED if name not in header]:
        raise BackboneError(f"backbone {str(path)!r} line 1: no column {missing[0]!r}; known columns: {', '.join(_FIELDS.values())}.")
    if unknown := sorted(set(header) - set(_FIELDS.values())):
        raise BackboneError(f"backbone {str(path)!r} line 1: unknown column {unknown[0]!r}; known columns: {', '.join(_FIELDS.values())}.")
    return {field: header.index(name) for field, name in _FIELDS.items() if name in header}


def _text_rows(path: Path) -> Iterator[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        header = stream.readline()
        delimiter = "\t" if "\t" in header else ","
        stream.seek(0)
        yield [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
        stream.readline()
        yield from (row for row in csv.reader(stream, delimiter=delimiter) if row)


def _parquet_rows(path: Path) -> Iterator[list[str]]:
    with pq.ParquetFile(path) as file:
        yield file.schema_arrow.names
        for batch in file.iter_batches():
            yield from _as_text(zip(*(column.to_pylist() for column in batch.columns), strict=True))


def _as_text(rows: Iterable[tuple[object, ...]]) -> Iterator[list[str]]:
    return (["" if value is None else str(value) for value in row] for row in rows)
