"""The tables that every backbone is read into: usages of names and vernacular names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

import pyarrow as pa

from bioclip.taxonomy.backbones.archives import Pack


class Usage(NamedTuple):
    """One use of a name in a backbone, as stated by the source; empty strings are missing values."""

    taxon_id: str
    parent_id: str = ""
    accepted_id: str = ""
    """The accepted usage of a synonym."""
    scientific_name: str = ""
    """With or without authorship."""
    authorship: str = ""
    canonical_name: str = ""
    """The name without authorship, if the source states it."""
    rank: str = ""
    status: str = ""
    kingdom: str = ""
    phylum: str = ""
    class_: str = ""
    order: str = ""
    family: str = ""
    genus: str = ""


class Vernacular(NamedTuple):
    """A vernacular name of a usage."""

    taxon_id: str
    name: str
    language: str = ""
    preferred: bool = False
    source: str = ""


USAGE_SCHEMA = pa.schema([pa.field(field, pa.string(), nullable=False) for field in Usage._fields])
"""A table of usages; no nulls."""


class Backbone(ABC):
    """A backbone on disk; the iterators stream, can be restarted, and raise ArchiveError or BackboneError."""

    format: ClassVar[str]
    """Its name in settings."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pack = Pack(path)

    @classmethod
    @abstractmethod
    def fits(cls, pack: Pack) -> bool:
        """True when a download is of this format, by the names of its files and their first lines."""

    @abstractmethod
    def tables(self) -> Iterator[pa.Table]:
        """All usages, in the order of the source, as tables of USAGE_SCHEMA."""

    def usages(self) -> Iterator[Usage]:
        """All usages one by one, for inspection; compilation reads `tables`."""
        for table in self.tables():
            yield from map(Usage._make, zip(*(column.to_pylist() for column in table.columns), strict=True))

    def vernaculars(self) -> Iterator[Vernacular]:
        """All vernacular names, in the order of the source; empty if the format has none."""
        return iter(())


def usage_table(num_rows: int, columns: Mapping[str, pa.Array | pa.ChunkedArray | str]) -> pa.Table:
    """A table of USAGE_SCHEMA; a string fills a whole column, absent columns are empty."""
    arrays = []
    for name in USAGE_SCHEMA.names:
        column = columns.get(name, "")
        arrays.append(pa.repeat(pa.scalar(column), num_rows) if isinstance(column, str) else column)
    return pa.table(arrays, schema=USAGE_SCHEMA)


def tabulate_usages(usages: Iterable[Usage]) -> pa.Table:
    """The same usages as one table."""
    columns = list(zip(*usages, strict=True)) or [()] * len(USAGE_SCHEMA)
    return pa.table([pa.array(column, pa.string()) for column in columns], schema=USAGE_SCHEMA)
