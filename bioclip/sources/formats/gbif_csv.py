"""GBIF's simple CSV download: interpreted occurrences, tab-separated, unquoted, in a zip or plain.

Format: https://techdocs.gbif.org/en/data-use/download-formats. Its `mediaType` states that an occurrence has media, but not their
addresses. `options.media` is a multimedia table (`multimedia.txt` of a Darwin Core download) to join by gbifID; without it every row is
dropped as `no_media_url`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bioclip.delimited.content import open_content
from bioclip.delimited.damage import DamageLog
from bioclip.delimited.dialects import Dialect
from bioclip.delimited.headed import open_headed
from bioclip.records import Record
from bioclip.settings import SourceSettings
from bioclip.sources.contract import Dropped, Noted, SourceFormat, damaged_media
from bioclip.sources.external.row_index import RowIndex, row_index
from bioclip.sources.parsing.columns import parse_degrees
from bioclip.sources.parsing.defaults import RIGHTS_OPTIONS, license_text, rights
from bioclip.sources.parsing.media_kinds import is_still_image
from bioclip.sources.parsing.media_urls import read_addresses, with_scheme

COLUMNS = ("gbifID", "occurrenceID", "kingdom", "scientificName", "taxonRank", "mediaType", "license")
"""Columns that identify a simple CSV, which has fifty columns."""

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
_HANDLED = {"gbifID", *_TERMS.values()}
_LICENSE_TERMS = ("license", "UsageTerms", "WebStatement", "rights")
_TABS = Dialect("\t", quote="")


def read(source: SourceSettings) -> Iterator[Record | Dropped | Noted]:
    """Stream one record per medium, in the order of the occurrences; the multimedia table is on disk."""
    log = DamageLog(source.max_damaged_share)
    with open_content(Path(source.path), {".csv", ".txt", ".tsv"}) as (where, stream):
        rows = (row for _, row in open_headed(stream, where, _TABS, COLUMNS, log).records())
        if "media" not in source.options:
            if num_rows := sum(1 for _ in rows):
                yield Dropped("no_media_url", num_rows)
            yield from damaged_media(log)
            return
        with row_index() as media:
            media.fill(_media_rows(Path(source.options["media"]), log))
            for row in rows:
                yield from _records(source, row, media)
            if orphans := media.num_left():
                yield Dropped("media_without_occurrence", orphans)
    yield from damaged_media(log)


FORMAT = SourceFormat(read, options=frozenset({"media"}) | RIGHTS_OPTIONS, paths=frozenset({"media"}))


def _media_rows(path: Path, log: DamageLog) -> Iterator[tuple[str, dict[str, str]]]:
    with open_content(path, {".txt", ".csv", ".tsv"}) as (where, stream):
        for _, row in open_headed(stream, where, _TABS, ("gbifID", "identifier"), log).records():
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
        addresses = [url for url in map(with_scheme, read_addresses(item.get("identifier", ""))) if url]
        if not is_still_image(item.get("type", ""), item.get("format", ""), addresses[0] if addresses else ""):
            yield Dropped("not_a_still_image")
            continue
        if not addresses:
            yield Dropped("no_media_url")
        for address in addresses:
            yield _record(source, row, item, address, index)
            index += 1


def _record(source: SourceSettings, row: Mapping[str, str], item: Mapping[str, str], url: str, index: int) -> Record:
    names: dict[str, Any] = {name: row.get(term, "") for name, term in _TERMS.items()}
    license_ = license_text(*(item.get(term, "") for term in _LICENSE_TERMS)) or row["license"]
    stated = rights(source, license_, item.get("rightsHolder") or item.get("Owner") or row.get("rightsHolder", ""))
    latitude, longitude = parse_degrees(row.get("decimalLatitude", ""), 90.0), parse_degrees(row.get("decimalLongitude", ""), 180.0)
    handled = _HANDLED | ({"decimalLatitude"} if latitude is not None else set())
    handled |= {"decimalLongitude"} if longitude is not None else set()
    return Record(
        source=source.name,
        source_id=row["gbifID"],
        media_url=url,
        media_index=index,
        creator=item.get("creator", ""),
        title=item.get("title", ""),
        media_format=item.get("format", ""),
        references=item.get("references", ""),
        latitude=latitude,
        longitude=longitude,
        verbatim={term: value for term, value in row.items() if value and term not in handled},
        **stated,
        **names,
    )
