"""Write archives/field-observations.zip: a Darwin Core Archive of occurrences with a multimedia extension."""

import csv
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote
from xml.sax.saxutils import escape

from sample_backbone import RANKS, tsv_bytes
from sample_media import MediaFile
from sample_places import find_event, place_columns
from sample_rows import Row, draw_order, fish_track

HOST = "http://media.treeoflife.example/"
DWC = "http://rs.tdwg.org/dwc/terms/"
DC = "http://purl.org/dc/terms/"
OCCURRENCE_COLUMNS = (
    "gbifID", "occurrenceID", "basisOfRecord", "recordedBy", "eventDate", "verbatimEventDate", "countryCode", "locality",
    "decimalLatitude", "decimalLongitude", "geodeticDatum", "coordinateUncertaintyInMeters", "georeferenceSources",
    "georeferenceRemarks", "scientificName", "scientificNameAuthorship", "taxonRank", *RANKS, "specificEpithet",
    "vernacularName", "identificationRemarks",
)  # fmt: skip
MULTIMEDIA_COLUMNS = (
    "coreid", "type", "format", "identifier", "references", "title", "description", "created", "creator", "license",
    "rightsHolder",
)  # fmt: skip
LICENSES = {
    "CC-BY-SA-3.0": "http://creativecommons.org/licenses/by-sa/3.0/",
    "CC-BY-SA-4.0": "http://creativecommons.org/licenses/by-sa/4.0/",
    "CC-BY-4.0": "http://creativecommons.org/licenses/by/4.0/",
    "CC0-1.0": "http://creativecommons.org/publicdomain/zero/1.0/",
    "MIT": "MIT",
    "LicenseRef-Fish4Knowledge-permissive": "Fish4Knowledge permissive licence (notice retained)",
    "LicenseRef-NOAA-PlanktonSet-public": "Public domain (NOAA NCEI archive)",
}
"""SPDX-like licence of metadata.csv -> what the archive states."""
BASIS = {
    "fish": "MachineObservation",
    "plankton": "MachineObservation",
    "fungi": "HumanObservation",
    "herbarium": "PreservedSpecimen",
}
EML = """<?xml version="1.0" encoding="UTF-8"?>
<eml:eml xmlns:eml="eml://ecoinformatics.org/eml-2.1.1" packageId="treeoflife-sample-field-observations" system="treeoflife">
  <dataset>
    <title>Tree of life sample: field observations</title>
    <creator><organizationName>bioclip-pipeline</organizationName></creator>
    <abstract><para>{abstract}</para></abstract>
    <intellectualRights><para>{rights}</para></intellectualRights>
  </dataset>
</eml:eml>
"""
ABSTRACT = (
    "Small copies of real photographs, repackaged as a Darwin Core Archive to exercise a pipeline: reef fish "
    "(Fish4Knowledge), fungi (Mushroom Observer), plankton (PlanktonSet 1.0) and herbarium sheets (AAFC). The record "
    "identifiers and the media host are made up; the names are those of the sources, errors included. Coordinates are those of the places "
    "that the sources name, from GeoNames (CC BY 4.0), with their radius."
)


@dataclass(frozen=True)
class SourceLabels:
    """Labels of the sources beyond metadata.csv: herbarium columns by image name, fungus photograph dates by page URL."""

    herbarium: dict[str, Row]
    fungus_dates: dict[str, str]


def read_source_labels(photos_dir: Path) -> SourceLabels:
    """Read _source_labels/ of the herbarium and of the fungi."""
    folder = photos_dir / "_source_labels"
    with (folder / "aafc_occurrence_subset.csv").open(encoding="utf-8", newline="") as lines:
        herbarium = {row["image"]: row for row in csv.DictReader(lines)}
    dates = {}
    for line in (folder / "fungi_metadata.jsonl").read_text(encoding="utf-8").splitlines():
        for image in json.loads(line)["images"]:
            dates[image["source_url"]] = image["observation_date"] or ""
    return SourceLabels(herbarium, dates)


def occurrence_id(media: MediaFile) -> str:
    """One occurrence is a fish track, a mushroom of the source's catalogue, one plankton image or one sheet."""
    name = PurePosixPath(media.row["file"]).stem
    if media.row["file"].startswith("fish4k/"):
        return f"fish4k:{fish_track(media.row)}"
    return {
        "fungi": f"mushroom-tracker:{name.split('_')[0]}",
        "plankton": f"planktonset:{name}",
        "herbarium": f"aafc:{name}",
    }[media.source]


def gbif_id(occurrence: str) -> str:
    """Ten digits that identify an occurrence, like a gbifID."""
    return str(9_000_000_000 + int(draw_order(occurrence)[:12], 16) % 1_000_000_000)


def reference(row: Row) -> str:
    """Page of the photograph at its source: its own page, or its file in the source's repository."""
    if row["source_url"].startswith("https://mushroomobserver.org/"):
        return row["source_url"]
    return f"https://github.com/{row['source_repo']}/blob/{row['source_commit']}/{quote(row['source_path'])}"


def one_value(values: list[str]) -> str:
    """Return the value that all media of an occurrence share, or '' when they differ."""
    return values[0] if len(set(values)) == 1 else ""


def creator(row: Row) -> str:
    """Photographer of a fungus; for other sources the attribution unchanged."""
    return " ".join(row["attribution"].removesuffix(" / Mushroom Observer").split())


def created(row: Row, labels: SourceLabels) -> str:
    """Date of a photograph if the source states one: fungi without thumbnails."""
    return "" if "_thumb." in row["file"] else labels.fungus_dates.get(row["source_url"], "")


def verbatim_name(row: Row) -> tuple[str, str]:
    """Return (scientificName, taxonRank) of the source; a label that is not a taxon is returned unchanged, without rank."""
    if row["file"].startswith("aafc_herbarium/"):
        return row["original_label"].replace("(none)", ""), ""
    rank = row["taxon_rank"]
    name = row["scientific_name"] if rank == "species" else row.get(rank, "")
    return (name, rank) if name else (row["original_label"], "")


def classification(media: MediaFile, occurrence: str) -> dict[str, str]:
    """Return the rank columns that the source would fill.

    Fungi have no phylum to family, and every second one no epithet; herbarium sheets have no rank columns.
    """
    row = media.row
    full = {**{rank: row[rank] for rank in RANKS}, "specificEpithet": row["species"]}
    if media.source == "herbarium":
        return {}
    if media.source == "fungi":
        kept = {"kingdom", "genus"} | ({"specificEpithet"} if int(gbif_id(occurrence)) % 2 else set())
        return {rank: value for rank, value in full.items() if rank in kept}
    return full


def occurrence_row(occurrence: str, members: list[MediaFile], labels: SourceLabels) -> dict[str, str]:
    """Build the core row of an occurrence from its media."""
    first = members[0]
    row = first.row
    sheet = labels.herbarium.get(PurePosixPath(row["file"]).name, {})
    photographs = [member.row for member in members if "_thumb." not in member.row["file"]]
    fungus = first.source == "fungi"
    name, rank = verbatim_name(row)
    event = find_event(row)
    country = event.country_code or ("CA" if sheet.get("country") == "Canada" else "")
    remarks = [f"source label: {row['original_label']}", row["label_flag"].split(" (")[0] if not fungus else ""]
    return {
        "gbifID": gbif_id(occurrence),
        "occurrenceID": occurrence,
        "basisOfRecord": BASIS[first.source],
        "recordedBy": one_value([creator(photo) for photo in photographs]) if fungus else event.collector,
        "eventDate": one_value([created(photo, labels) for photo in photographs]) if fungus else event.date,
        "verbatimEventDate": sheet.get("eventDate", ""),
        "countryCode": country,
        **place_columns(event),
        "scientificName": name,
        "taxonRank": rank,
        **classification(first, occurrence),
        "vernacularName": row["common_name"],
        "identificationRemarks": "; ".join(remark for remark in remarks if remark),
    }


def multimedia_row(occurrence: str, media: MediaFile, labels: SourceLabels) -> dict[str, str]:
    """Build the extension row of one photograph."""
    row = media.row
    return {
        "coreid": gbif_id(occurrence),
        "type": "StillImage",
        "format": media.mime_type,
        "identifier": HOST + media.path,
        "references": reference(row),
        "title": row["scientific_name"] or row["original_label"],
        "description": "thumbnail" if "_thumb." in row["file"] else "",
        "created": created(row, labels),
        "creator": creator(row),
        "license": LICENSES[row["license"]],
        "rightsHolder": " ".join(row["attribution"].split()),
    }


def group_media(media: list[MediaFile]) -> dict[str, list[MediaFile]]:
    """Group media by occurrence, in order of its id."""
    groups: dict[str, list[MediaFile]] = defaultdict(list)
    for member in media:
        groups[occurrence_id(member)].append(member)
    return dict(sorted(groups.items()))


def fields_xml(columns: tuple[str, ...], term: Callable[[str], str]) -> str:
    """Return the <field> elements of all columns except the id, which is column 0."""
    return "\n".join(f'    <field index="{index}" term="{escape(term(column))}"/>' for index, column in enumerate(columns) if index)


def meta_xml() -> bytes:
    """Describe both tables by the Darwin Core text guide."""
    table = 'encoding="UTF-8" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" fieldsEnclosedBy="" ignoreHeaderLines="1"'
    occurrence = fields_xml(OCCURRENCE_COLUMNS, lambda column: DWC + column)
    multimedia = fields_xml(MULTIMEDIA_COLUMNS, lambda column: DC + column)
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<archive xmlns="http://rs.tdwg.org/dwc/text/" metadata="eml.xml">
  <core {table} rowType="{DWC}Occurrence">
    <files><location>occurrence.txt</location></files>
    <id index="0"/>
{occurrence}
  </core>
  <extension {table} rowType="http://rs.gbif.org/terms/1.0/Multimedia">
    <files><location>multimedia.txt</location></files>
    <coreid index="0"/>
{multimedia}
  </extension>
</archive>
""".encode()


def dwca_members(media: list[MediaFile], fault_rows: list[tuple[str, MediaFile]], labels: SourceLabels) -> dict[str, bytes]:
    """Members of field-observations.zip; `fault_rows` are further media, each with its occurrence id.

    Raises ValueError when two occurrences would share a gbifID.
    """
    groups = group_media(media)
    occurrences = sorted(
        (occurrence_row(occurrence, members, labels) for occurrence, members in groups.items()),
        key=lambda row: row["gbifID"],
    )
    if len({row["gbifID"] for row in occurrences}) != len(occurrences):
        raise ValueError("two occurrences share a gbifID; widen gbif_id.")
    pictures = [(key, member) for key, members in groups.items() for member in members] + fault_rows
    rows = sorted(
        (multimedia_row(key, member, labels) for key, member in pictures),
        key=lambda row: (row["coreid"], row["identifier"]),
    )
    rights = "Per media file, see multimedia.txt: " + "; ".join(sorted({row["license"] for row in rows})) + "."
    return {
        "meta.xml": meta_xml(),
        "eml.xml": EML.format(abstract=escape(ABSTRACT), rights=escape(rights)).encode(),
        "occurrence.txt": table_bytes(OCCURRENCE_COLUMNS, occurrences),
        "multimedia.txt": table_bytes(MULTIMEDIA_COLUMNS, rows),
    }


def table_bytes(columns: tuple[str, ...], rows: list[dict[str, str]]) -> bytes:
    """Encode rows; absent columns are empty."""
    return tsv_bytes(columns, ([row.get(column, "") for column in columns] for row in rows))
