"""iNaturalist 2021 (and its predecessors of 2017-2019): COCO JSON whose categories carry the lineage.

Format: https://github.com/visipedia/inat_comp. Every category is a species. Names of files are below `options.images` (a base URL or a
folder; default: the folder of the JSON file). A licence id is looked up in the document's own list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bioclip.local_media import LocalMediaError
from bioclip.records import Record
from bioclip.settings import SourceSettings
from bioclip.sources.contract import Dropped, SourceFormat
from bioclip.sources.parsing.coco import CocoFile, Image, license_of, open_coco, text_of, url_of, verbatim_of
from bioclip.sources.parsing.columns import parse_degrees
from bioclip.sources.parsing.defaults import MEDIA_OPTIONS, RIGHTS_OPTIONS, MediaBase, rights

_NAMES = {
    "scientific_name": "name",
    "vernacular_name": "common_name",
    "kingdom": "kingdom",
    "phylum": "phylum",
    "class_": "class",
    "order": "order",
    "family": "family",
    "genus": "genus",
    "specific_epithet": "specific_epithet",
}
_IMAGE_HANDLED = {"id", "file_name", "license", "rights_holder", "date", "latitude", "longitude"}


def read(source: SourceSettings) -> Iterator[Record | Dropped]:
    """Stream one record per annotation, in the order of the images; categories are in memory, annotations on disk."""
    base = MediaBase(source)
    with open_coco(Path(source.path)) as coco:
        for image in coco.images():
            if isinstance(image, Dropped):
                yield image
            else:
                yield from _records(source, coco, image, base)


FORMAT = SourceFormat(read, options=MEDIA_OPTIONS | RIGHTS_OPTIONS, local_media=True)


def _records(source: SourceSettings, coco: CocoFile, image: Image, base: MediaBase) -> Iterator[Record | Dropped]:
    values = image.values
    file_name = url_of(values)
    if not file_name:
        yield Dropped("no_media_url", len(image.annotations))
        return
    try:
        url = base.url(file_name)
    except LocalMediaError as error:
        yield Dropped(error.reason, len(image.annotations))
        return
    known: set[str] = set()
    is_mixed = len({text_of(annotation, "category_id") for annotation in image.annotations}) > 1
    for annotation in image.annotations:
        category_id = text_of(annotation, "category_id")
        if category_id not in coco.categories:
            yield Dropped("category_unknown")
        elif category_id in known:
            yield Dropped("annotation_repeated")
        else:
            known.add(category_id)
            source_id = text_of(values, "id") + (f"/{category_id}" if is_mixed else "")
            yield _record(source, coco, values, source_id, category_id, url)


def _record(source: SourceSettings, coco: CocoFile, values: Mapping[str, Any], source_id: str, category_id: str, url: str) -> Record:
    category = coco.categories[category_id]
    names: dict[str, Any] = {field: text_of(category, column) for field, column in _NAMES.items()}
    stated = coco.licenses.get(text_of(values, "license"), {})
    return Record(
        source=source.name,
        source_id=source_id,
        media_url=url,
        event_date=text_of(values, "date"),
        latitude=parse_degrees(text_of(values, "latitude"), 90.0),
        longitude=parse_degrees(text_of(values, "longitude"), 180.0),
        image_type="citizen_science",
        taxon_rank="species",
        verbatim={
            **verbatim_of(values, _IMAGE_HANDLED),
            "category_id": category_id,
            **verbatim_of({"license_name": stated.get("name"), "supercategory": category.get("supercategory")}, set()),
        },
        **rights(source, license_of(coco, values), text_of(values, "rights_holder")),
        **names,
    )
