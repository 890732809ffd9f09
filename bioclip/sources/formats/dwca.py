"""Darwin Core Archives of occurrences or taxa with media (GBIF downloads among them).

Standard: https://dwc.tdwg.org/text/ and GBIF's Simple Multimedia, Image and Audubon extensions. A row of the core has any number of media
rows; each becomes one record, numbered in the order of the archive. Media rows of other types than StillImage are dropped and counted.
Media of a checklist (a core of taxa) have the taxon's names and no occurrence.

A GBIF download has two versions of each row: occurrence.txt as interpreted by GBIF, verbatim.txt as the publisher wrote it. Names
are resolved here against pinned backbones, so the publisher's names are used (`names: interpreted` turns that off): all of an occurrence's
name columns come from verbatim.txt if it states a scientific name. Higher ranks that the publisher leaves empty are filled from
GBIF's, since homonyms cannot be distinguished without a kingdom; GBIF's own name is kept as `interpreted:scientificName`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc

from bioclip.darwin_core import Archive, TableLayout, open_archive
from bioclip.delimited.damage import DamageLog
from bioclip.errors import ArchiveError, SettingsError
from bioclip.settings import SourceSettings
from bioclip.sources.contract import Dropped, Item, Noted, SourceFormat, damaged_media, damaged_others
from bioclip.sources.external.hash_join import POSITION, HashJoin, positions_within
from bioclip.sources.external.spill import DEFAULT_BUFFER_BYTES
from bioclip.sources.formats.dwca_media import MEDIA_ROW_TYPES, MediaReader
from bioclip.sources.parsing.columns import degrees, first_of, is_empty, joined_maps, text, trimmed, unread_degrees, verbatim_map
from bioclip.sources.parsing.defaults import MEDIA_OPTIONS
from bioclip.sources.parsing.prefetch import read_ahead

_OCCURRENCE = "http://rs.tdwg.org/dwc/terms/Occurrence"
_CORES = {
    _OCCURRENCE: "occurrence",
    "http://rs.tdwg.org/dwc/terms/Taxon": "taxon",
    "http://rs.tdwg.org/dwc/terms/DarwinCore": "occurrence",
    "http://rs.tdwg.org/dwc/xsd/simpledarwincore/SimpleDarwinRecord": "occurrence",
}
"""Row types of cores; the last two are names of Occurrence before 2009."""
_NAME_TERMS = {
    "scientific_name": "scientificName",
    "scientific_name_authorship": "scientificNameAuthorship",
    "taxon_rank": "taxonRank",
    "kingdom": "kingdom",
    "phylum": "phylum",
    "class_": "class",
    "order": "order",
    "family": "family",
    "genus": "genus",
    "specific_epithet": "specificEpithet",
    "vernacular_name": "vernacularName",
}
_HIGHER_RANKS = ("kingdom", "phylum", "class", "order", "family")
_OTHER_TERMS = {
    "occurrence_id": "occurrenceID",
    "observer": "recordedBy",
    "basis_of_record": "basisOfRecord",
    "event_date": "eventDate",
}
_OCCURRENCE_TERMS = _OTHER_TERMS | _NAME_TERMS
_HANDLED = {"id", *_OCCURRENCE_TERMS.values()}
_SHARED_TERMS = ("license", "rights", "rightsHolder", "references")
"""Terms of an occurrence that apply to its media if the media state no value."""


def read(source: SourceSettings, scratch: Path | None = None, buffer_bytes: int = DEFAULT_BUFFER_BYTES) -> Iterator[Item]:
    """Stream the archive's media joined to their occurrences; see `HashJoin` for memory and `SourceFormat` for the rest.

    Media rows without a URL or of another type than still image are dropped before the join. Occurrences without media are a note.
    """
    is_verbatim = _wants_verbatim(source)
    with ExitStack() as stack:
        folder = scratch or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        archive = stack.enter_context(open_archive(source.path))
        media, row_name = MediaReader(archive, _media_tables(archive, source), source), _CORES[_core_type(archive)]
        occurrences = _Occurrences(archive, folder / "names", buffer_bytes, is_verbatim, DamageLog(source.max_damaged_share))
        associated = _AssociatedMedia(media)
        join = HashJoin("_core_id", "_id", folder / "media", buffer_bytes, associated.add)
        for joined in join.join(media.tables, occurrences.tables()):
            orphans = pc.is_null(joined[POSITION])
            if num_orphans := pc.sum(orphans).as_py():
                yield Dropped(f"media_without_{row_name}", num_orphans)
                joined = joined.filter(pc.invert(orphans))
            if joined.num_rows:
                yield _records(joined)
            yield from media.take_dropped()
            yield from associated.take()
        yield from associated.take()
        yield from media.take_dropped()
        num_without = join.num_unmatched_right - associated.num_occurrences
        counts = {f"{row_name}_without_media": num_without, f"{row_name}_repeated": join.num_repeated_right}
        yield from (Noted(name, count) for name, count in counts.items() if count)
        yield from damaged_media(media.log)
        yield from damaged_others(occurrences.log)


FORMAT = SourceFormat(read, options=frozenset({"names"}) | MEDIA_OPTIONS, uses_scratch=True, local_media=True)


def _wants_verbatim(source: SourceSettings) -> bool:
    names = source.options.get("names", "verbatim")
    if names not in {"verbatim", "interpreted"}:
        raise SettingsError(f"source {source.name!r}: options.names is {names!r}; use verbatim or interpreted.")
    return names == "verbatim"


def _core_type(archive: Archive) -> str:
    """The core's row type in the standard's spelling."""
    given = archive.layout.core.row_type
    return next((row_type for row_type in _CORES if row_type.lower() == given.lower()), given)


def _media_tables(archive: Archive, source: SourceSettings) -> list[TableLayout]:
    core, extensions = archive.layout.core, archive.layout.extensions
    if _core_type(archive) not in _CORES:
        raise ArchiveError(f"{core.where}: the core is {core.row_type!r}; format 'dwca' reads the cores {', '.join(_CORES)}.")
    tables = [extension for row_type in MEDIA_ROW_TYPES for extension in extensions if extension.row_type.lower() == row_type.lower()]
    if not tables and "associatedMedia" not in core.fields:
        known = ", ".join(MEDIA_ROW_TYPES)
        raise ArchiveError(
            f"{core.where}: source {source.name!r} has no media extension; one of {known}, or the term associatedMedia, "
            "is needed for images."
        )
    return tables


class _Occurrences:
    """The core's rows as columns of records, names from verbatim.txt if it is requested and present."""

    def __init__(self, archive: Archive, folder: Path, buffer_bytes: int, is_verbatim: bool, log: DamageLog) -> None:
        core = archive.layout.core
        self.log = log
        self._archive, self._core = archive, core
        self._folder, self._buffer_bytes = folder, buffer_bytes
        self._terms = [term for term in core.fields if term != core.id_key]
        verbatim = (
            [table for table in archive.layout.extensions if table.row_type == core.row_type and _core_type(archive) == _OCCURRENCE]
            if is_verbatim
            else []
        )
        self._verbatim = verbatim[0] if verbatim else None

    def tables(self) -> Iterator[pa.Table]:
        """At least one table, possibly empty; all have the same schema."""
        yield self._columns(pa.table({term: pa.array([], pa.string()) for term in [self._core.id_key, *self._terms]}))
        for table in self._named():
            yield self._columns(table)

    def _named(self) -> Iterator[pa.Table]:
        if self._verbatim is None:
            yield from self._interpreted()
            return
        join = HashJoin(self._core.id_key, "_verbatim_id", self._folder, self._buffer_bytes)
        for joined in join.join(self._interpreted, self._publishers_names()):
            yield _with_publishers_names(joined)

    def _interpreted(self) -> Iterator[pa.Table]:
        return read_ahead(self._archive.tables(self._core, [self._core.id_key, *self._terms], self.log))

    def _publishers_names(self) -> Iterator[pa.Table]:
        assert self._verbatim is not None
        names = list(_NAME_TERMS.values())
        yield pa.table({name: pa.array([], pa.string()) for name in ["_verbatim_id", *(f"_verbatim:{name}" for name in names)]})
        for table in self._archive.tables(self._verbatim, [self._verbatim.id_key, *names], self.log):
            yield table.rename_columns(["_verbatim_id", *(f"_verbatim:{name}" for name in names)])

    def _columns(self, table: pa.Table) -> pa.Table:
        columns: dict[str, Any] = {"_id": trimmed(table[self._core.id_key])}
        if "associatedMedia" in table.column_names:
            columns["_associated"] = table["associatedMedia"]
        columns |= {name: trimmed(text(table, term)) for name, term in _OCCURRENCE_TERMS.items()}
        for name, term, limit in (("latitude", "decimalLatitude", 90.0), ("longitude", "decimalLongitude", 180.0)):
            columns[name] = degrees(text(table, term), limit)
            if term in table.column_names:
                table = table.set_column(table.column_names.index(term), term, unread_degrees(table[term], columns[name]))
        columns |= {f"_occurrence:{term}": text(table, term) for term in _SHARED_TERMS if term in table.column_names}
        kept = [name for name in table.column_names if name not in _HANDLED and not name.startswith("_") and name != self._core.id_key]
        columns["verbatim"] = verbatim_map(table, kept)
        return pa.table(columns)


class _AssociatedMedia:
    """Records of the addresses in `associatedMedia`, for occurrences without a media row."""

    def __init__(self, media: MediaReader) -> None:
        self._media = media
        self._waiting: list[pa.Table] = []
        self.num_occurrences = 0

    def add(self, occurrences: pa.Table) -> None:
        """Occurrences without a media row."""
        if "_associated" in occurrences.column_names:
            given = occurrences.filter(pc.invert(is_empty(occurrences["_associated"])))
            if given.num_rows:
                self._waiting.append(given)

    def take(self) -> Iterator[pa.Table]:
        """Records of the occurrences since the last call."""
        for given in self._waiting:
            urls, rows = self._media.addresses(given["_associated"])
            self.num_occurrences += len(np.unique(rows))
            if len(rows):
                joined = given.take(pa.array(rows)).append_column("media_url", urls)
                yield _records(joined.append_column("_core_id", joined["_id"]).append_column(POSITION, pa.array(positions_within(rows))))
        self._waiting = []


def _with_publishers_names(joined: pa.Table) -> pa.Table:
    """The publisher's names if they include a scientific name; empty ranks above the genus are filled from GBIF's."""
    has_name = pc.invert(is_empty(joined["_verbatim:scientificName"]))
    interpreted = pc.if_else(has_name, text(joined, "scientificName"), "")
    columns = {name: joined[name] for name in joined.column_names if not name.startswith("_")}
    for term in _NAME_TERMS.values():
        ours = text(joined, f"_verbatim:{term}")
        given = first_of(ours, text(joined, term)) if term in _HIGHER_RANKS else ours
        columns[term] = pc.if_else(has_name, given, text(joined, term))
    return pa.table(columns | {"interpreted:scientificName": interpreted})


def _records(joined: pa.Table) -> pa.Table:
    columns = {name: joined[name] for name in joined.column_names if not name.startswith("_")}
    columns["source_id"] = joined["_core_id"]
    columns["media_index"] = joined[POSITION]
    columns["license_verbatim"] = _first_of(joined, "_license", "_occurrence:license", "_occurrence:rights")
    columns["rights_holder"] = _first_of(joined, "_rights_holder", "_occurrence:rightsHolder")
    columns["references"] = _first_of(joined, "_references", "_occurrence:references")
    if "_media_verbatim" in joined.column_names:
        columns["verbatim"] = joined_maps(joined["verbatim"], joined["_media_verbatim"])
    return pa.table(columns)


def _first_of(joined: pa.Table, *names: str) -> Any:
    """The first of the columns that is not empty; absent columns are empty."""
    there = [joined[name] for name in names if name in joined.column_names]
    return first_of(*there) if there else text(joined, names[0])
