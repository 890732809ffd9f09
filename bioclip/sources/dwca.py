"""Darwin Core Archives of occurrences with media (GBIF downloads among them).

Standard: https://dwc.tdwg.org/text/ and GBIF's Simple Multimedia extension. An occurrence has any number of media rows; each
becomes one record, numbered in the order of the archive. Media rows of other types than StillImage are dropped and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from bioclip.darwin_core import Archive, TableLayout, open_archive
from bioclip.errors import ArchiveError
from bioclip.licenses import normalize_license
from bioclip.records import Record
from bioclip.settings import SourceSettings
from bioclip.sources.reading import Dropped, SourceFormat

MEDIA_ROW_TYPES = (
    "http://rs.gbif.org/terms/1.0/Multimedia",
    "http://rs.gbif.org/terms/1.0/Image",
    "http://rs.tdwg.org/ac/terms/Multimedia",
)
_OCCURRENCE = "http://rs.tdwg.org/dwc/terms/Occurrence"
_OCCURRENCE_TERMS = {
    "occurrence_id": "occurrenceID",
    "observer": "recordedBy",
    "basis_of_record": "basisOfRecord",
    "event_date": "eventDate",
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
_HANDLED = {"id", *_OCCURRENCE_TERMS.values(), "decimalLatitude", "decimalLongitude"}


def read(source: SourceSettings) -> Iterator[Record | Dropped]:
    """Stream the archive's media; occurrences are held in memory while their media are read."""
    with open_archive(source.path) as archive:
        media = _media_table(archive, source)
        occurrences = _read_occurrences(archive)
        indices: Counter[str] = Counter()
        for row in archive.rows(media):
            core_id = row[media.id_key]
            occurrence = occurrences.get(core_id)
            if occurrence is None:
                yield Dropped("media_without_occurrence")
                continue
            url = row.get("identifier") or row.get("accessURI") or ""
            if reason := _refusal(row, url):
                yield Dropped(reason)
                continue
            yield _record(source, core_id, occurrence, row, url, indices[core_id])
            indices[core_id] += 1


FORMAT = SourceFormat(read)


def _media_table(archive: Archive, source: SourceSettings) -> TableLayout:
    core, extensions = archive.layout.core, archive.layout.extensions
    if core.row_type != _OCCURRENCE:
        raise ArchiveError(f"{core.where}: the core is {core.row_type!r}; format 'dwca' reads occurrence cores ({_OCCURRENCE}).")
    for row_type in MEDIA_ROW_TYPES:
        for extension in extensions:
            if extension.row_type == row_type:
                return extension
    known = ", ".join(MEDIA_ROW_TYPES)
    raise ArchiveError(f"{core.where}: source {source.name!r} has no media extension; one of {known} is needed for images.")


def _read_occurrences(archive: Archive) -> dict[str, dict[str, str]]:
    core = archive.layout.core
    return {row[core.id_key]: row for row in archive.rows(core)}


def _refusal(row: Mapping[str, str], url: str) -> str:
    if not url:
        return "no_media_url"
    kind = row.get("type", "")
    if kind and kind.rsplit("/", 1)[-1].lower() not in {"stillimage", "image"}:
        return "not_a_still_image"
    return ""


def _record(
    source: SourceSettings, core_id: str, occurrence: Mapping[str, str], row: Mapping[str, str], url: str, media_index: int
) -> Record:
    license_text = row.get("license") or row.get("UsageTerms") or occurrence.get("license", "")
    names: dict[str, Any] = {name: occurrence.get(term, "") for name, term in _OCCURRENCE_TERMS.items()}
    return Record(
        source=source.name,
        source_id=core_id,
        media_url=url,
        media_index=media_index,
        license=normalize_license(license_text),
        license_verbatim=license_text,
        rights_holder=row.get("rightsHolder") or row.get("Owner") or occurrence.get("rightsHolder", ""),
        creator=row.get("creator", ""),
        title=row.get("title", ""),
        media_format=row.get("format", ""),
        references=row.get("references") or occurrence.get("references", ""),
        latitude=parse_degrees(occurrence.get("decimalLatitude", ""), 90.0),
        longitude=parse_degrees(occurrence.get("decimalLongitude", ""), 180.0),
        verbatim={term: value for term, value in occurrence.items() if value and term not in _HANDLED},
        **names,
    )


def parse_degrees(text: str, limit: float) -> float | None:
    """Decimal degrees within +-limit, or None for anything else."""
    try:
        degrees = float(text)
    except ValueError:
        return None
    return degrees if -limit <= degrees <= limit else None
