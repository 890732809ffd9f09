"""Darwin Core Archives of occurrences or taxa with media (GBIF downloads among them).

Standard: https://dwc.tdwg.org/text/ and GBIF's Simple Multimedia, Image and Audubon extensions. A row of the core has any number of media
rows; each becomes one record, numbered in the order of the archive. Media rows of other types than StillImage are dropped and counted.
Media of a checklist (a core of taxa) have the taxon's names and no occurrence.

A GBIF download says everything twice: occurrence.txt as GBIF's backbone understands it, verbatim.txt as the publisher wrote it. Names
are resolved here against pinned backbones, so the publisher's are read (`names: interpreted` turns that off): all of an occurrence's
name columns come from verbatim.txt where it has a scientific name there. Higher ranks that the publisher leaves empty are filled from
GBIF's, since without a kingdom homonyms cannot be told apart; GBIF's own name is kept as `interpreted:scientificName`.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import compute as pc

from bioclip.darwin_core import Archive, TableLayout, open_archive
from bioclip.errors import ArchiveError, SettingsError
from bioclip.settings import SourceSettings
from bioclip.sources.contract import Dropped, Item, Noted, SourceFormat
from bioclip.sources.external.hash_join import POSITION, HashJoin
from bioclip.sources.external.spill import DEFAULT_BUFFER_BYTES
from bioclip.sources.parsing.columns import degrees, first_of, is_empty, per_distinct, text, verbatim_map
from bioclip.sources.parsing.prefetch import read_ahead

MEDIA_ROW_TYPES = (
    "http://rs.gbif.org/terms/1.0/Multimedia",
    "http://rs.gbif.org/terms/1.0/Image",
    "http://rs.tdwg.org/ac/terms/Multimedia",
)
_OCCURRENCE = "http://rs.tdwg.org/dwc/terms/Occurrence"
_CORES = {
    _OCCURRENCE: "occurrence",
    "http://rs.tdwg.org/dwc/terms/Taxon": "taxon",
    "http://rs.tdwg.org/dwc/terms/DarwinCore": "occurrence",
    "http://rs.tdwg.org/dwc/xsd/simpledarwincore/SimpleDarwinRecord": "occurrence",
}
"""What a row of each core is; the last two are what Occurrence was called before 2009."""
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
_HANDLED = {"id", *_OCCURRENCE_TERMS.values(), "decimalLatitude", "decimalLongitude"}
_MEDIA_TERMS = (
    "identifier", "accessURI", "type", "license", "UsageTerms", "rightsHolder", "Owner", "creator", "title", "format", "references",
)  # fmt: skip
_SHARED_TERMS = ("license", "rightsHolder", "references")
"""Terms of an occurrence that hold for its media where these say nothing."""
_STILL = {"", "stillimage", "image"}


def read(source: SourceSettings, scratch: Path | None = None, buffer_bytes: int = DEFAULT_BUFFER_BYTES) -> Iterator[Item]:
    """Stream the archive's media joined to their occurrences; see `HashJoin` for memory and `SourceFormat` for the rest.

    Media rows without a URL, and others than still images, are dropped before the join. Occurrences without media are a note.
    """
    is_verbatim = _wants_verbatim(source)
    with ExitStack() as stack:
        folder = scratch or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        archive = stack.enter_context(open_archive(source.path))
        layout = _media_table(archive, source)
        media, row_name = _Media(archive, layout), _CORES[archive.layout.core.row_type]
        occurrences = _Occurrences(archive, folder / "names", buffer_bytes, is_verbatim)
        join = HashJoin("_core_id", "_id", folder / "media", buffer_bytes)
        for joined in join.join(media.tables, occurrences.tables()):
            yield from media.take_dropped()
            orphans = pc.is_null(joined[POSITION])
            if num_orphans := pc.sum(orphans).as_py():
                yield Dropped(f"media_without_{row_name}", num_orphans)
                joined = joined.filter(pc.invert(orphans))
            if joined.num_rows:
                yield _records(joined)
        yield from media.take_dropped()
        counts = {f"{row_name}_without_media": join.num_unmatched_right, f"{row_name}_repeated": join.num_repeated_right}
        yield from (Noted(name, count) for name, count in counts.items() if count)


FORMAT = SourceFormat(read, options=frozenset({"names"}), uses_scratch=True)


def _wants_verbatim(source: SourceSettings) -> bool:
    names = source.options.get("names", "verbatim")
    if names not in {"verbatim", "interpreted"}:
        raise SettingsError(f"source {source.name!r}: options.names is {names!r}; it is verbatim or interpreted.")
    return names == "verbatim"


def _media_table(archive: Archive, source: SourceSettings) -> TableLayout:
    core, extensions = archive.layout.core, archive.layout.extensions
    if core.row_type not in _CORES:
        raise ArchiveError(f"{core.where}: the core is {core.row_type!r}; format 'dwca' reads the cores {', '.join(_CORES)}.")
    for row_type in MEDIA_ROW_TYPES:
        for extension in extensions:
            if extension.row_type == row_type:
                return extension
    known = ", ".join(MEDIA_ROW_TYPES)
    raise ArchiveError(f"{core.where}: source {source.name!r} has no media extension; one of {known} is needed for images.")


class _Media:
    """The media rows that can become records; the others are counted until they are asked for."""

    def __init__(self, archive: Archive, layout: TableLayout) -> None:
        self._archive, self._layout = archive, layout
        self._dropped: Counter[str] = Counter()

    def tables(self) -> Iterator[pa.Table]:
        terms = [term for term in _MEDIA_TERMS if term in self._layout.fields]
        for table in read_ahead(self._archive.tables(self._layout, [self._layout.id_key, *terms])):
            url = _first_of(table, "identifier", "accessURI")
            has_url = pc.invert(is_empty(url))
            is_still = per_distinct(text(table, "type"), lambda kind: kind.rsplit("/", 1)[-1].lower() in _STILL, pa.bool_())
            is_kept = pc.and_(has_url, is_still)
            num_urls, num_kept = pc.sum(has_url).as_py() or 0, pc.sum(is_kept).as_py() or 0
            self._dropped["no_media_url"] += table.num_rows - num_urls
            self._dropped["not_a_still_image"] += num_urls - num_kept
            columns = {
                "_core_id": table[self._layout.id_key],
                "media_url": url,
                "_license": _first_of(table, "license", "UsageTerms"),
                "_rights_holder": _first_of(table, "rightsHolder", "Owner"),
                "creator": text(table, "creator"),
                "title": text(table, "title"),
                "media_format": text(table, "format"),
                "_references": text(table, "references"),
            }
            kept = pa.table(columns)
            yield kept if num_kept == table.num_rows else kept.filter(is_kept)

    def take_dropped(self) -> Iterator[Dropped]:
        """What was dropped since the last call."""
        dropped, self._dropped = self._dropped, Counter()
        yield from (Dropped(reason, count) for reason, count in dropped.items() if count)


class _Occurrences:
    """The core's rows as columns of records, names from verbatim.txt where that is wanted and there."""

    def __init__(self, archive: Archive, folder: Path, buffer_bytes: int, is_verbatim: bool) -> None:
        core = archive.layout.core
        self._archive, self._core = archive, core
        self._folder, self._buffer_bytes = folder, buffer_bytes
        self._terms = [term for term in core.fields if term != core.id_key]
        verbatim = [table for table in archive.layout.extensions if table.row_type == core.row_type == _OCCURRENCE] if is_verbatim else []
        self._verbatim = verbatim[0] if verbatim else None

    def tables(self) -> Iterator[pa.Table]:
        """At least one table, be it empty: its schema is the same for all."""
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
        return read_ahead(self._archive.tables(self._core, [self._core.id_key, *self._terms]))

    def _publishers_names(self) -> Iterator[pa.Table]:
        assert self._verbatim is not None
        names = list(_NAME_TERMS.values())
        yield pa.table({name: pa.array([], pa.string()) for name in ["_verbatim_id", *(f"_verbatim:{name}" for name in names)]})
        for table in self._archive.tables(self._verbatim, [self._verbatim.id_key, *names]):
            yield table.rename_columns(["_verbatim_id", *(f"_verbatim:{name}" for name in names)])

    def _columns(self, table: pa.Table) -> pa.Table:
        columns: dict[str, Any] = {"_id": table[self._core.id_key]}
        columns |= {name: text(table, term) for name, term in _OCCURRENCE_TERMS.items()}
        columns["latitude"] = degrees(text(table, "decimalLatitude"), 90.0)
        columns["longitude"] = degrees(text(table, "decimalLongitude"), 180.0)
        columns |= {f"_occurrence:{term}": text(table, term) for term in _SHARED_TERMS if term in table.column_names}
        kept = [name for name in table.column_names if name not in _HANDLED and not name.startswith("_") and name != self._core.id_key]
        columns["verbatim"] = verbatim_map(table, kept)
        return pa.table(columns)


def _first_of(table: pa.Table, *names: str) -> Any:
    """The first of the columns that says something; those that the table has not say nothing."""
    there = [table[name] for name in names if name in table.column_names]
    return first_of(*there) if there else text(table, names[0])


def _with_publishers_names(joined: pa.Table) -> pa.Table:
    """The publisher's names where he gives a scientific name; ranks above the genus that he leaves empty stay GBIF's."""
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
    columns["license_verbatim"] = _first_of(joined, "_license", "_occurrence:license")
    columns["rights_holder"] = _first_of(joined, "_rights_holder", "_occurrence:rightsHolder")
    columns["references"] = _first_of(joined, "_references", "_occurrence:references")
    return pa.table(columns)
