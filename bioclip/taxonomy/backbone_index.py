"""Look-ups in a compiled backbone: a key gives its candidate usages, each with the taxon it stands for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
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
    common_name_source: str = ""
    rank_sources: str = ""
    """One letter a rank: `p` from the path of parents, `c` from the source's column, `o` its own name, `n` taken from the binomial, `r`
    repaired by the overlay, `.` none."""
    repair: str = ""
    """Who says what the overlay repaired."""


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


class Texts:
    """The strings of an Arrow array as bytes, one at a time, without making Arrow scalars."""

    def __init__(self, column: pa.Array) -> None:
        self._offsets, self._data = memoryview(b""), memoryview(b"")
        if len(column):
            _, offsets, data = column.buffers()
            self._offsets = memoryview(offsets).cast("i")[column.offset : column.offset + len(column) + 1]
            self._data = memoryview(data) if data is not None else self._data

    def at(self, row: int) -> bytes:
        """The string of a row, in UTF-8."""
        return bytes(self._data[self._offsets[row] : self._offsets[row + 1]])


class BackboneIndex:
    """A compiled backbone; its columns stay where they are, in memory or mapped from a file, and single values are read when asked for."""

    def __init__(self, name: str, table: pa.Table) -> None:
        if not table.schema.equals(INDEX_SCHEMA):
            raise BackboneError(f"index of backbone {name!r} has other columns than this version writes; run the backbones stage again.")
        self.name = name
        self._columns = {column: _whole(table.column(column)) for column in INDEX_SCHEMA.names}
        self._num_rows = table.num_rows
        self._keys = Texts(self._columns["key"])
        self._taxa: dict[int, Taxon] = {}

    def __len__(self) -> int:
        return int(self._num_rows)

    def candidates(self, name: str) -> list[Candidate]:
        """The usages of a canonical name, the preferred status first; empty when the backbone does not know it."""
        key = name_key(name)
        wanted = key.encode()
        row = self.first_row(wanted)
        found: list[Candidate] = []
        while row < self._num_rows and self._keys.at(row) == wanted:
            found.append(self._candidate(row))
            row += 1
        return found

    def candidates_at(self, rows: Iterable[int]) -> list[Candidate]:
        """The usages in these rows."""
        return [self._candidate(row) for row in rows]

    def column(self, name: str) -> pa.Array:
        """A whole column of INDEX_SCHEMA, for looking up many names at once."""
        return self._columns[name]

    def first_rows(self, keys: pa.Array) -> npt.NDArray[np.int32]:
        """The first row of each of many keys, -1 where there is none; further rows of a key follow its first. Builds a hash of all keys."""
        rows = pc.index_in(keys, value_set=self._columns["key"])
        first: npt.NDArray[np.int32] = pc.fill_null(rows, -1).to_numpy(zero_copy_only=False).astype(np.int32)
        return first

    def first_row(self, wanted: bytes) -> int:
        """The first row whose key is not below `wanted`; the number of rows when all are."""
        low, high = 0, self._num_rows
        while low < high:
            middle = (low + high) // 2
            if self._keys.at(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        return low

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
            extra = (value(column, row) for column in ("common_name", "common_name_source", "rank_sources", "repair"))
            self._taxa[row] = Taxon(row, value("taxon_id", row), name, rank, lineage, *extra)
        return self._taxa[row]

    def _value(self, column: str, row: int) -> str:
        text: str = self._columns[column][row].as_py()
        return text


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """One array; a mapped column is one chunk already and must not be copied."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def load_index(storage: Storage, file_name: str, name: str) -> BackboneIndex:
    """The index that the backbones stage wrote; raises StorageError or BackboneError."""
    with storage.reader(file_name) as stream:
        try:
            return BackboneIndex(name, pq.read_table(stream).replace_schema_metadata())
        except pa.ArrowException as error:
            raise BackboneError(
                f"index {storage.uri(file_name)!r} is damaged ({error}); remove it and run the backbones stage again."
            ) from None
