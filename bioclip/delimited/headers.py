"""Spellings of column names: every reader finds its fields with this table.

Spellings are compared without case, spaces, `_`, `-` and `.`; of an address such as `http://purl.org/dc/terms/license` or a prefixed name
such as `dwc:scientificName` the local name counts. Terms: Darwin Core (https://dwc.tdwg.org/terms/), Audubon Core
(https://ac.tdwg.org/termlist/), Dublin Core, XMP rights, and what GBIF, iNaturalist, EOL and FathomNet write.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

SPELLINGS: dict[str, tuple[str, ...]] = {
    "source_id": ("gbifid", "recordid", "photoid", "imageid"),
    "media_url": ("accessuri", "imageurl", "mediaurl", "photourl", "imageuri", "url", "filename", "filepath", "file", "path", "image"),
    "media_index": (),
    "record_id": ("id", "imageid", "key"),
    "path": ("file", "filename", "filepath"),
    "label": ("category", "classname"),
    "occurrence_id": ("occurrenceid", "observationid", "observationuuid"),
    "observer": ("recordedby", "observerid"),
    "license": ("licence", "usageterms", "licenseverbatim", "rights"),
    "rights_holder": ("rightsholder", "owner", "copyrightowner", "copyrightholder"),
    "creator": ("photographer",),
    "title": (),
    "media_format": ("format", "mimetype"),
    "basis_of_record": ("basisofrecord",),
    "event_date": ("eventdate", "observedon", "date"),
    "latitude": ("decimallatitude", "lat"),
    "longitude": ("decimallongitude", "long", "lon", "lng"),
    "references": ("furtherinformationurl",),
    "image_type": (),
    "quality_grade": ("qualitygrade",),
    "identifier": (),
    "crop_x": (),
    "crop_y": (),
    "crop_width": (),
    "crop_height": (),
    "scientific_name": ("scientificname", "species"),
    "scientific_name_authorship": ("scientificnameauthorship", "authorship"),
    "taxon_rank": ("taxonrank", "rank"),
    "kingdom": ("kingdomname",),
    "phylum": ("phylumname",),
    "class": ("classname",),
    "order": ("ordername",),
    "family": ("familyname",),
    "genus": ("genusname",),
    "specific_epithet": ("specificepithet",),
    "vernacular_name": ("vernacularname", "commonname"),
    "common_name": ("commonname", "vernacularname"),
    "sha256": (),
    "pixel_sha256": (),
    "phash": (),
    "source_occurrence": (),
}
"""Field -> other spellings of its column, preferred first."""

_IGNORED = re.compile(r"[\s_.-]+")


def local_name(term: str) -> str:
    """The last part of a term's address: `http://rs.tdwg.org/dwc/terms/taxonID` and `dwc:taxonID` give `taxonID`."""
    return re.split(r"[/#:]", term.strip().strip('"').rstrip("/#"))[-1].strip()


def normal_name(column: str) -> str:
    """A column's name in normal form: `Scientific Name`, `dwc:scientificName` and `scientific_name` are equal."""
    return _IGNORED.sub("", local_name(column)).casefold()


def find_column(header: Sequence[str], field: str) -> str:
    """The column of `header` for `field`: by exact name, then by spelling in order; empty if there is none."""
    if field in header:
        return field
    by_name = {normal_name(column): column for column in reversed(header)}
    return next((by_name[name] for name in (normal_name(field), *SPELLINGS.get(field, ())) if name in by_name), "")


def match_columns(header: Sequence[str], fields: Iterable[str]) -> dict[str, str]:
    """Field -> column of `header`; no column serves two fields, and exact names come first."""
    wanted = list(fields)
    matched = {field: field for field in wanted if field in header}
    for field in wanted:
        if field not in matched and (column := find_column([one for one in header if one not in matched.values()], field)):
            matched[field] = column
    return {field: matched[field] for field in wanted if field in matched}


def place_of(header: Sequence[str], term: str) -> int | None:
    """Position of the column with this local name, ignoring case; None if there is none."""
    names = [normal_name(column) for column in header]
    return names.index(normal_name(term)) if normal_name(term) in names else None


def repeated_column(header: Collection[str]) -> str:
    """The first name in alphabetical order that two columns share; empty where there is none."""
    names = list(header)
    return min((name for name in names if names.count(name) > 1), default="")
