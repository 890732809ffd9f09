"""GBIF's simple CSV download: interpreted occurrences, tab-separated, unquoted, in a zip or plain.

Format: https://techdocs.gbif.org/en/data-use/download-formats. It says by `mediaType` that an occurrence has media, but not where they
are. `options.media` is a multimedia table (`multimedia.txt` of a Darwin Core download) to join by gbifID; without it every row is
dropped as `no_media_url`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bioclip.records import Record
from bioclip.settings import SourceSettings
from bioclip.sources.contract import Dropped, SourceFormat
from bioclip.sources.external.row_index import RowIndex, row_index
from bioclip.sources.parsing.columns import parse_degrees
from bioclip.sources.parsing.defaults import RIGHTS_OPTIONS, rights
from bioclip.sources.parsing.delimited import open_content, read_delimited

COLUMNS = ("gbifID", "occurrenceID", "kingdom", "scientificName", "taxonRank", "mediaType", "license")
"""Columns that make a simple CSV; it has fifty."""

_TERMS = {
    "occurrence_id": "occurrenceID",
    "observer": "recordedBy",
    "basis_of_record": "basisOfRecord",
    "event_date": "eventDate",
    "scientific_name": "scientificName",
    "taxon_rank": "taxonRank",
    "kingdom": "kingdom",
    "phylum": "phylum",
    "class_": "class",
    "order": "order",
    "family": "family",
    "genus": "genus",
}
_HANDLED = {"gbifID", *_TERMS.values(), "decimalLatitude", "decimalLongitude"}
_STILL = {"stillimage", "image"}


def read(source: SourceSettings) -> Iterator[Record | Dropped]:
    """Stream one record a medium, in the order of the occurrences; the multimedia table is on disk."""
    with open_content(Path(source.path), {".csv", ".txt", ".tsv"}) as (where, stream):
        rows = (row for _, row in read_delimited(stream, where, delimiter="\t", required=COLUMNS))
        if "media" not in source.options:
            if num_rows := sum(1 for _ in rows):
                yield Dropped("no_media_url", num_rows)
            return
        with row_index() as media:
            media.fill(_media_rows(Path(source.options["media"])))
            for row in rows:
                yield from _records(source, row, media)
            if orphans := media.num_left():
                yield Dropped("media_without_occurrence", orphans)


FORMAT = SourceFormat(read, options=frozenset({"media"}) | RIGHTS_OPTIONS, paths=frozenset({"media"}))


def _media_rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    with open_content(path, {".txt", ".csv", ".tsv"}) as (where, stream):
        for _, row in read_delimited(stream, where, delimiter="\t", required=("gbifID", "identifier")):
            yield row["gbifID"], {column: value for column, value in row.items() if value and column != "gbifID"}


def _records(source: SourceSettings, row: Mapping[str, str], media: RowIndex) -> Iterator[Record | Dropped]:
    found = media.take(row["gbifID"])
    if found is None:
        yield Dropped("occurrence_repeated")
        return
    if not found:
        yield Dropped("no_media_url")
        return
    index = 0
    for item in found:
        if item.get("type", "StillImage").rpartition("/")[2].lower() not in _STILL:
            yield Dropped("not_a_still_image")
        elif not item.get("identifier"):
            yield Dropped("no_media_url")
        else:
            yield _record(source, row, item, index)
            index += 1


def _record(source: SourceSettings, row: Mapping[str, str], item: Mapping[str, str], index: int) -> Record:
    names: dict[str, Any] = {name: row.get(term, "") for name, term in _TERMS.items()}
    stated = rights(source, item.get("license") or row["license"], item.get("rightsHolder") or row.get("rightsHolder", ""))
    return Record(
        source=source.name,
        source_id=row["gbifID"],
        media_url=item["identifier"],
        media_index=index,
        creator=item.get("creator", ""),
        title=item.get("title", ""),
        media_format=item.get("format", ""),
        references=item.get("references", ""),
        latitude=parse_degrees(row.get("decimalLatitude", ""), 90.0),
        longitude=parse_degrees(row.get("decimalLongitude", ""), 180.0),
        verbatim={term: value for term, value in row.items() if value and term not in _HANDLED},
        **stated,
        **names,
    )
