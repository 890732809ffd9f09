"""COCO Camera Traps, the format of LILA's camera-trap sets.

Format: https://github.com/agentmorris/MegaDetector/blob/main/megadetector/data_management/README.md#coco-camera-traps-format. One record
per annotation: each box gives a crop; several annotations of one category without a box give one record. Categories are the photographers'
own labels, so they become the scientific name unchanged; labels that are not taxa (`empty`, `vehicle`) are left to the taxonomy stage, or
are dropped with `options.non_taxa: drop`. `options.taxa` is LILA's taxonomy mapping (columns `query`, `scientific_name`, `taxonomy_level`,
and ranks), which maps labels to names; labels not in it are unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bioclip.delimited.content import open_content
from bioclip.delimited.damage import DamageLog
from bioclip.delimited.dialects import Dialect
from bioclip.delimited.headed import open_headed
from bioclip.errors import SettingsError
from bioclip.local_media import LocalMediaError
from bioclip.records import Record
from bioclip.settings import SourceSettings
from bioclip.sources.contract import Dropped, Noted, SourceFormat, damaged_others
from bioclip.sources.parsing.boxes import Crop, crop_of
from bioclip.sources.parsing.coco import CocoFile, Image, license_of, number_of, open_coco, text_of, url_of, verbatim_of
from bioclip.sources.parsing.defaults import MEDIA_OPTIONS, RIGHTS_OPTIONS, MediaBase, rights

NON_TAXA = frozenset(
    {
        "animal", "blank", "bicycle", "bike", "boat", "car", "corrupt", "dirt_bike", "empty", "end", "foggy", "human", "humans",
        "lens_obscured", "livestock", "misfire", "motorcycle", "no_animal", "nothing", "other", "people", "person", "problem",
        "setup", "start", "test", "truck", "unidentifiable", "unidentified", "unknown", "unlabeled", "vehicle", "vehicles",
    }
)  # fmt: skip
"""Labels of LILA's sets that are not taxa, in lower case with `_` for spaces."""

_IMAGE_HANDLED = {"id", "file_name", "seq_id", "datetime", "rights_holder", "width", "height"}
_ANNOTATION_HANDLED = {"id", "image_id", "category_id", "bbox"}
_RANKS = {"kingdom": "kingdom", "phylum": "phylum", "class": "class_", "order": "order", "family": "family", "genus": "genus"}
_TAXON_COLUMNS = ("query", "scientific_name", "taxonomy_level")


@dataclass(frozen=True)
class _Reading:
    source: SourceSettings
    coco: CocoFile
    base: MediaBase
    taxa: Mapping[str, dict[str, Any]]
    drops_non_taxa: bool


def read(source: SourceSettings) -> Iterator[Record | Dropped | Noted]:
    """Stream the records in the order of the images; categories and taxa are in memory, annotations on disk."""
    choice = source.options.get("non_taxa", "keep")
    if choice not in {"keep", "drop"}:
        raise SettingsError(f"source {source.name!r}: options.non_taxa is {choice!r}; use keep or drop.")
    base = MediaBase(source)
    log = DamageLog(source.max_damaged_share)
    taxa = _read_taxa(Path(source.options["taxa"]), log) if "taxa" in source.options else {}
    yield from damaged_others(log)
    with open_coco(Path(source.path)) as coco:
        reading = _Reading(source, coco, base, taxa, choice == "drop")
        for image in coco.images():
            if isinstance(image, Dropped):
                yield image
            else:
                yield from _records(reading, image)


FORMAT = SourceFormat(
    read, options=frozenset({"non_taxa", "taxa"}) | MEDIA_OPTIONS | RIGHTS_OPTIONS, paths=frozenset({"taxa"}), local_media=True
)


def _records(reading: _Reading, image: Image) -> Iterator[Record | Dropped]:
    file_name = url_of(image.values)
    reason = "no_media_url" if not file_name else "marked_corrupt" if image.values.get("corrupt") is True else ""
    url = ""
    if not reason:
        try:
            url = reading.base.url(file_name.replace("\\", "/"))
        except LocalMediaError as error:
            reason = error.reason
    if reason:
        yield Dropped(reason, len(image.annotations))
        return
    whole: set[str] = set()
    boxed: set[str] = set()
    for number, annotation in enumerate(image.annotations):
        category_id = text_of(annotation, "category_id")
        category = reading.coco.categories.get(category_id)
        if category is None:
            yield Dropped("category_unknown")
        elif reading.drops_non_taxa and _label_key(text_of(category, "name")) in NON_TAXA:
            yield Dropped("non_taxon_category")
        elif not annotation.get("bbox") and category_id in whole:
            yield Dropped("annotation_repeated")
        else:
            if not annotation.get("bbox"):
                whole.add(category_id)
            yield _record(reading, image, annotation, category, url, f"/{number}" if category_id in boxed else "")
            boxed.add(category_id)


def _record(
    reading: _Reading, image: Image, annotation: Mapping[str, Any], category: Mapping[str, Any], url: str, number: str
) -> Record | Dropped:
    """The record of an annotation; `number` distinguishes it from an earlier one of the same category."""
    crop = Crop()
    if box := annotation.get("bbox"):
        sides = [number_of({"side": side}, "side") for side in box] if isinstance(box, list) else []
        if len(sides) != 4:
            return Dropped("box_malformed")
        found = crop_of(sides, number_of(image.values, "width"), number_of(image.values, "height"))
        if isinstance(found, Dropped):
            return found
        crop = found
    values, label = image.values, text_of(category, "name")
    names = reading.taxa.get(_label_key(label), {"scientific_name": label, "vernacular_name": text_of(category, "common_name")})
    return Record(
        source=reading.source.name,
        source_id=text_of(annotation, "id") or f"{text_of(values, 'id')}/{text_of(annotation, 'category_id')}{number}",
        media_url=url,
        occurrence_id=text_of(values, "seq_id"),
        media_index=_frame(values),
        event_date=text_of(values, "datetime"),
        image_type="camera_trap",
        verbatim={
            **verbatim_of(values, _IMAGE_HANDLED),
            **verbatim_of(annotation, _ANNOTATION_HANDLED, "annotation."),
            "image_id": text_of(values, "id"),
            "category": label,
        },
        **rights(reading.source, license_of(reading.coco, values), text_of(values, "rights_holder")),
        **crop,
        **names,
    )


def _frame(values: Mapping[str, Any]) -> int:
    number = number_of(values, "frame_num")
    return int(number) if number is not None and 0 <= number < 1 << 31 and math.isfinite(number) else 0


def _label_key(label: str) -> str:
    return label.strip().lower().replace(" ", "_")


def _read_taxa(path: Path, log: DamageLog) -> dict[str, dict[str, Any]]:
    taxa: dict[str, dict[str, Any]] = {}
    with open_content(path, {".csv"}) as (where, stream):
        for _, row in open_headed(stream, where, Dialect(",", is_usual=True), _TAXON_COLUMNS, log).records():
            if row["scientific_name"].strip():
                names = {field: row.get(column, "").strip() for column, field in _RANKS.items()}
                names["taxon_rank"] = row["taxonomy_level"].strip()
                names["vernacular_name"] = row.get("common_name", "").strip()
                taxa.setdefault(_label_key(row["query"]), {**names, "scientific_name": row["scientific_name"].strip()})
    return taxa
