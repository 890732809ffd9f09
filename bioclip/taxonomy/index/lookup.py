"""Look-ups in a compiled backbone: a key gives its candidate usages, each with its label's taxon."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip.errors import BackboneError
from bioclip.records import RANKS
from bioclip.storage import Storage
from bioclip.taxonomy.index.build import INDEX_SCHEMA
from bioclip.taxonomy.index.sorted_columns import SortedRows, StringColumn
from bioclip.taxonomy.names.keys import name_key
from bioclip.taxonomy.names.ranks import Lineage

_NUM_CACHED = 20_000
_FEW = 8
"""Keys are few if there are this many times more rows."""


@dataclass(frozen=True, slots=True)
class Taxon:
    """A taxon as labels use it."""

    row: int
    taxon_id: str
    name: str
    rank: str
    """One of RANKS."""
    lineage: Lineage
    common_name: str
    common_name_source: str = ""
    rank_sources: str = ""
    """One letter per rank: `p` from the path of parents, `c` from the source's column, `o` its own name, `n` taken from the binomial, `r`
    repaired by the overlay, `.` none."""
    repair: str = ""
    """Source of the overlay's repair."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A usage with the name looked up."""

    taxon_id: str
    name: str
    authorship: str
    rank: str
    status: str
    infraspecific: str
    taxon: Taxon


class BackboneIndex:
    """A compiled backbone; its columns stay in memory or mapped from a file, and values are read on demand."""

    def __init__(self, name: str, table: pa.Table) -> None:
        if not table.schema.equals(INDEX_SCHEMA):
            raise BackboneError(f"index of backbone {name!r} has other columns than this version writes; run the backbones stage again.")
        self.name = name
        self._columns = {column: _whole(table.column(column)) for column in INDEX_SCHEMA.names}
        self._num_rows = table.num_rows
        self._texts = {field.name: StringColumn(self._columns[field.name]) for field in INDEX_SCHEMA if field.type == pa.string()}
        self._labels = memoryview(self._columns["label"].to_numpy())
        self._by_stem = memoryview(self._columns["by_stem"].to_numpy())
        self._candidate_columns = [self._texts[field.name] for field in fields(Candidate)[:-1]]
        self._keys = SortedRows(self._num_rows, self._texts["key"].at)
        self._stems = SortedRows(self._num_rows, self._stem_at)
        self._taxon = lru_cache(_NUM_CACHED)(self._read_taxon)
        self._of_uninomial = lru_cache(_NUM_CACHED)(self._candidates_of)

    def __len__(self) -> int:
        return int(self._num_rows)

    def candidates(self, name: str) -> list[Candidate]:
        """The usages of a canonical name, the preferred status first; empty if the backbone lacks it."""
        key = name_key(name)
        return list(self._candidates_of(key) if " " in key else self._of_uninomial(key))

    def candidates_at(self, rows: Iterable[int]) -> list[Candidate]:
        """The usages in these rows."""
        return [self._candidate(row) for row in rows]

    def column(self, name: str) -> pa.Array:
        """A whole column of INDEX_SCHEMA, for looking up many names at once."""
        return self._columns[name]

    def first_rows(self, keys: pa.Array) -> npt.NDArray[np.int32]:
        """The first row of each of many keys, -1 if there is none; further rows of a key follow its first.

        Builds a hash of the shorter side, since that takes most of the time.
        """
        known = self._columns["key"]
        if len(keys) * _FEW > self._num_rows:
            return _positions(keys, known)
        rows = np.flatnonzero(pc.is_in(known, value_set=keys).to_numpy(zero_copy_only=False)).astype(np.int32)
        places = _positions(keys, known.take(pa.array(rows)))
        return np.append(rows, np.int32(-1))[places]

    def rows_below(self, genus: str) -> range:
        """The rows whose keys begin with the genus and have further words."""
        prefix = f"{genus} ".encode()
        first = self._keys.first(prefix)
        if first == self._num_rows or not self._texts["key"].at(first).startswith(prefix):
            return range(first, first)
        return range(first, self._keys.first(f"{genus}!".encode()))

    def texts(self, column: str, rows: range) -> list[str]:
        """The strings of a column in consecutive rows."""
        return self._texts[column].between(rows.start, rows.stop) if len(rows) else []

    def rows_with_stem(self, stem: str, start: str) -> list[int]:
        """The rows with these epithet stems whose keys have the prefix, in key order."""
        wanted, end = start.encode(), start[:-1] + chr(ord(start[-1]) + 1)
        first, last = self._stems.first((stem.encode(), wanted)), self._stems.first((stem.encode(), end.encode()))
        return self._by_stem[first:last].tolist()

    def _stem_at(self, place: int) -> tuple[bytes, bytes]:
        row = self._by_stem[place]
        return self._texts["stem"].at(row), self._texts["key"].at(row)

    def _candidates_of(self, key: str) -> list[Candidate]:
        wanted = key.encode()
        row = self._keys.first(wanted)
        found: list[Candidate] = []
        while row < self._num_rows and self._texts["key"].at(row) == wanted:
            found.append(self._candidate(row))
            row += 1
        return found

    def _candidate(self, row: int) -> Candidate:
        taxon_id, name, authorship, rank, status, infraspecific = (column.text(row) for column in self._candidate_columns)
        return Candidate(taxon_id, name, authorship, rank, status, infraspecific, self._taxon(self._labels[row]))

    def _read_taxon(self, row: int) -> Taxon:
        value = self._value
        lineage = tuple(value(rank, row) for rank in RANKS)
        rank = value("label_rank", row)
        name = lineage[RANKS.index(rank)] or value("name", row)
        extra = (value(column, row) for column in ("common_name", "common_name_source", "rank_sources", "repair"))
        return Taxon(row, value("taxon_id", row), name, rank, lineage, *extra)

    def _value(self, column: str, row: int) -> str:
        return self._texts[column].text(row)


def _positions(keys: pa.Array, values: pa.Array) -> npt.NDArray[np.int32]:
    """The first position of each key in `values`, -1 if there is none."""
    found = pc.fill_null(pc.index_in(keys, value_set=values), -1)
    positions: npt.NDArray[np.int32] = found.to_numpy(zero_copy_only=False).astype(np.int32)
    return positions


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
