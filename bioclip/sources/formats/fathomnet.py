"""FathomNet: JSON image records with bounding boxes; each box becomes one record with its crop.

Format: the image objects of https://fathomnet.org (`uuid`, `url`, `width`, `height`, `depthMeters`, `boundingBoxes` …), as one array, as
the array of an object, or as JSON lines. `concept` is the annotator's label and becomes the scientific name unchanged, whether it is a
taxon, a morphotype or a piece of equipment; the taxonomy stage distinguishes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bioclip.delimited.content import open_content, suffix_of
from bioclip.errors import ArchiveError
from bioclip.local_media import LocalMediaError
from bioclip.records import Record
from bioclip.settings import SourceSettings
from bioclip.sources.contract import Dropped, SourceFormat
from bioclip.sources.parsing.boxes import crop_of
from bioclip.sources.parsing.coco import number_of, text_of, verbatim_of
from bioclip.sources.parsing.columns import parse_degrees
from bioclip.sources.parsing.defaults import MEDIA_OPTIONS, RIGHTS_OPTIONS, MediaBase, rights
from bioclip.sources.parsing.json_stream import read_items, read_lines

_LINES = {".jsonl", ".ndjson"}
_IMAGE_HANDLED = {"url", "latitude", "longitude", "timestamp", "boundingBoxes", "width", "height"}
_BOX_HANDLED = {"uuid", "concept", "observer"}


def read(source: SourceSettings) -> Iterator[Record | Dropped]:
    """Stream one record per box, in the file's order; memory is one image object."""
    base, path = MediaBase(source), Path(source.path)
    with open_content(path, {".json", *_LINES}) as (where, stream):
        if suffix_of(path) in _LINES:
            items = ((f"{where}, line {number}", item) for number, item in read_lines(stream, where))
        else:
            items = ((f"{where}: {name}[{index}]", item) for name, index, item in read_items(stream, where) if index >= 0)
        is_first = True
        for place, image in items:
            if not isinstance(image, dict) or (is_first and "boundingBoxes" not in image):
                raise ArchiveError(f"{place}: an image object with 'boundingBoxes' is required.")
            is_first = False
            yield from _records(source, image, base, place)
        if is_first:
            raise ArchiveError(f"{where}: no image object found; a FathomNet export is an array of image objects.")


FORMAT = SourceFormat(read, options=MEDIA_OPTIONS | RIGHTS_OPTIONS, local_media=True)


def _records(source: SourceSettings, image: Mapping[str, Any], base: MediaBase, where: str) -> Iterator[Record | Dropped]:
    boxes = image.get("boundingBoxes") or []
    if not isinstance(boxes, list) or not all(isinstance(box, dict) for box in boxes):
        raise ArchiveError(f"{where}: boundingBoxes must be an array of objects.")
    if not boxes:
        yield Dropped("image_without_boxes")
        return
    url = text_of(image, "url").strip()
    if not url:
        yield Dropped("no_media_url", len(boxes))
        return
    if "://" not in url:
        try:
            url = base.url(url)
        except LocalMediaError as error:
            yield Dropped(error.reason, len(boxes))
            return
    for box in boxes:
        yield _record(source, image, box, url)


def _record(source: SourceSettings, image: Mapping[str, Any], box: Mapping[str, Any], url: str) -> Record | Dropped:
    if not (identifier := text_of(box, "uuid")):
        return Dropped("box_without_uuid")
    sides = [number_of(box, side) for side in ("x", "y", "width", "height")]
    crop = crop_of(sides, number_of(image, "width"), number_of(image, "height"))
    if isinstance(crop, Dropped):
        return crop
    return Record(
        source=source.name,
        source_id=identifier,
        media_url=url,
        occurrence_id=text_of(image, "uuid"),
        observer=text_of(box, "observer"),
        event_date=text_of(image, "timestamp"),
        latitude=parse_degrees(text_of(image, "latitude"), 90.0),
        longitude=parse_degrees(text_of(image, "longitude"), 180.0),
        scientific_name=text_of(box, "concept"),
        verbatim={**verbatim_of(image, _IMAGE_HANDLED), **verbatim_of(box, _BOX_HANDLED, "box.")},
        **rights(source),
        **crop,
    )
