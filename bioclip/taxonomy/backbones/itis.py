"""ITIS as its SQLite download: taxonomic_units, synonym_links, taxon_authors_lkp, taxon_unit_types and vernaculars.

Tables: https://www.itis.gov/pdf/ITIS_ConceptualModelEntityDefinition.pdf. `hierarchy` repeats parent_tsn and `kingdoms`
the units of rank 10, so neither is read.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from bioclip.errors import BackboneError
from bioclip.taxonomy.backbones.archives import Pack
from bioclip.taxonomy.backbones.usages import Backbone, Vernacular, usage_table

_BATCH_ROWS = 50_000
_MAGIC = b"SQLite format 3\x00"
_FIELDS = ("taxon_id", "parent_id", "accepted_id", "scientific_name", "authorship", "rank", "status")
_UNITS = """
    select cast(u.tsn as text), coalesce(nullif(cast(u.parent_tsn as text), '0'), ''), coalesce(cast(min(s.tsn_accepted) as text), ''),
           trim(u.complete_name), coalesce(trim(a.taxon_author), ''), coalesce(trim(t.rank_name), ''),
           case when u.name_usage in ('valid', 'accepted') then 'accepted' when count(s.tsn_accepted) > 1 then 'pro parte synonym'
                when count(s.tsn_accepted) = 1 then 'synonym' else u.name_usage end
    from taxonomic_units u
    left join synonym_links s on s.tsn = u.tsn and u.name_usage not in ('valid', 'accepted')
    left join taxon_authors_lkp a on a.taxon_author_id = u.taxon_author_id and a.kingdom_id = u.kingdom_id
    left join taxon_unit_types t on t.rank_id = u.rank_id and t.kingdom_id = u.kingdom_id
    group by u.tsn order by u.tsn
"""
_VERNACULARS = """
    select cast(tsn as text), trim(vernacular_name), coalesce(language, ''), approved_ind = 'Y' from vernaculars
    where trim(vernacular_name) <> '' order by tsn, vern_id
"""


class ItisBackbone(Backbone):
    """The SQLite file, or the zip or folder that holds it."""

    format: ClassVar[str] = "itis"

    @classmethod
    def fits(cls, pack: Pack) -> bool:
        """A SQLite file."""
        return bool(_database(pack))

    def tables(self) -> Iterator[pa.Table]:
        """All units; those with several accepted units are pro parte synonyms of the one with the lowest number."""
        for rows in self._query(_UNITS):
            columns = {field: pa.array(values, pa.string()) for field, values in zip(_FIELDS, zip(*rows, strict=True), strict=True)}
            yield usage_table(len(rows), columns)

    def vernaculars(self) -> Iterator[Vernacular]:
        """All vernacular names; approved ones are preferred."""
        for rows in self._query(_VERNACULARS):
            for tsn, name, language, approved in rows:
                yield Vernacular(tsn, name, language, bool(approved), "itis")

    def _query(self, query: str) -> Iterator[list[tuple[str, ...]]]:
        with self._local_file() as path:
            try:
                with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
                    cursor = connection.execute(query)
                    while rows := cursor.fetchmany(_BATCH_ROWS):
                        yield rows
            except sqlite3.Error as error:
                raise BackboneError(f"ITIS database {str(self.path)!r} cannot be read: {error}; get itisSqlite.zip again.") from None

    @contextmanager
    def _local_file(self) -> Iterator[Path]:
        name = _database(self.pack)
        if not name:
            raise BackboneError(f"{str(self.path)!r} holds no SQLite database; ITIS's download is itisSqlite.zip.")
        if self.path.is_file() and len(self.pack.names) == 1 and self.path.name.lower() == name:
            yield self.path
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "itis.sqlite"
            with self.pack.open(name) as stream, path.open("wb") as sink:
                shutil.copyfileobj(stream, sink)
            yield path


def _database(pack: Pack) -> str:
    for name in sorted(pack.names):
        if name.endswith((".sqlite", ".sqlite3", ".db")):
            with pack.open(name) as stream:
                if stream.read(len(_MAGIC)) == _MAGIC:
                    return name
    return ""
