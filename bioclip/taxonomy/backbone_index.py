"""Look-ups in a compiled backbone: a key gives its candidate usages, each with the taxon it stands for."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from bioclip.errors import BackboneError
from bioclip.records import RANKS
from bioclip.storage import Storage
from bioclip.taxonomy.index import INDEX_SCHEMA
from bioclip.taxonomy.keys import name_key
from bioclip.taxonomy.lineages import Lineage


@dataclass(frozen=True, slots=True)
class Taxon:
    """What a label is made of."""

    row: int
    taxon_id: str
    name: str
    rank: str
    """One of RANKS."""
    lineage: Lineage
    common_name: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A usage that carries the name looked for."""

    taxon_id: str
    name: str
    authorship: str
    rank: str
    status: str
    infraspecific: str
    taxon: Taxon


class BackboneIndex:
    """A compiled backbone in memory; about 0.5 kB a usage."""

    def __init__(self, name: str, table: pa.Table) -> None:
        if not table.schema.equals(INDEX_SCHEMA):
            raise BackboneError(f"index of backbone {name!r} has other columns than this version writes; run the backbones stage again.")
        self.name = name
        self._columns = {column: table.column(column).combine_chunks() for column in INDEX_SCHEMA.names}
        keys = self._columns["key"].to_pylist()
        self._first = {key: row for row, key in zip(range(len(keys) - 1, -1, -1), reversed(keys), strict=True)}
        self._num_rows = len(keys)
        self._taxa: dict[int, Taxon] = {}

    def __len__(self) -> int:
        return self._num_rows

    def candidates(self, name: str) -> list[Candidate]:
        """The usages of a canonical name, the preferred status first; empty when the backbone does not know it."""
        key = name_key(name)
        row = self._first.get(key, -1)
        found: list[Candidate] = []
        while 0 <= row < self._num_rows and self._value("key", row) == key:
            found.append(self._candidate(row))
            row += 1
        return found

    def _candidate(self, row: int) -> Candidate:
        value = self._value
        return Candidate(
            taxon_id=value("taxon_id", row),
            name=value("name", row),
            authorship=value("authorship", row),
            rank=value("rank", row),
            status=value("status", row),
            infraspecific=value("infraspecific", row),
            taxon=self._taxon(self._columns["label"][row].as_py()),
        )

    def _taxon(self, row: int) -> Taxon:
        if row not in self._taxa:
            value = self._value
            lineage = tuple(value(rank, row) for rank in RANKS)
            rank = value("label_rank", row)
            name = lineage[RANKS.index(rank)] or value("name", row)
            self._taxa[row] = Taxon(row, value("taxon_id", row), name, rank, lineage, value("common_name", row))
        return self._taxa[row]

    def _value(self, column: str, row: int) -> str:
        text: str = self._columns[column][row].as_py()
        return text


def load_index(storage: Storage, file_name: str, name: str) -> BackboneIndex:
    """The index that the backbones stage wrote; raises StorageError or BackboneError."""
    with storage.reader(file_name) as stream:
        try:
            return BackboneIndex(name, pq.read_table(stream).replace_schema_metadata())
        except pa.ArrowException as error:
            raise BackboneError(
                f"index {storage.uri(file_name)!r} is damaged ({error}); remove it and run the backbones stage again."
            ) from None
