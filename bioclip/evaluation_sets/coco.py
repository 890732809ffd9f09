"""COCO documents: `images`, `annotations` and `categories` in any order, images as files below the document's folder.

Format: https://cocodataset.org/#format-data; categories with ranks are read as iNaturalist's competition sets write them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bioclip.delimited.text import as_text
from bioclip.errors import ArchiveError, SettingsError
from bioclip.evaluation_sets.set_format import Listing, SetFormat, image_root
from bioclip.evaluation_sets.table_columns import RANK_COLUMNS
from bioclip.settings import EvaluationSetSettings
from bioclip.sources.contract import Dropped
from bioclip.sources.parsing.boxes import crop_of
from bioclip.sources.parsing.coco import number_of
from bioclip.sources.parsing.json_stream import read_items

_KEYS = {"images": "id", "annotations": "image_id", "categories": "id", "licenses": "id"}


def _is_json(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(512).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")


def _read(settings: EvaluationSetSettings, path: Path) -> Listing:
    """One item an image, in the document's order; with `settings.crops` one item a box (see `_box_items`).

    An image whose annotations name several categories has no label (note `several_labels`); one without annotation has none either and is
    kept (note `without_label`), since a model may be shown it.
    """
    tables = _tables(path)
    if not tables["images"]:
        raise SettingsError(f"evaluation set {str(path)!r}: the array 'images' is missing or empty; a COCO document is required.")
    categories = {as_text(one.get("id")): one for one in tables["categories"]}
    licenses = {as_text(one.get("id")): as_text(one.get("url")) or as_text(one.get("name")) for one in tables["licenses"]}
    if settings.crops:
        return _box_items(tables, categories, licenses, image_root(settings, path), path)
    named: dict[str, list[str]] = {}
    for annotation in tables["annotations"]:
        ids = named.setdefault(as_text(annotation.get("image_id")), [])
        if (category_id := as_text(annotation.get("category_id"))) not in ids:
            ids.append(category_id)
    notes: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    for image in tables["images"]:
        found = named.get(as_text(image.get("id")), [])
        notes["several_labels" if len(found) > 1 else "without_label" if not found else "labelled"] += 1
        category = categories.get(found[0], {}) if len(found) == 1 else {}
        rows.append(_item(image, category, licenses))
    found_notes = {name: notes[name] for name in notes if name != "labelled"}
    return Listing(_columns(rows), str(image_root(settings, path)), (path,), notes=found_notes)


def _box_items(
    tables: Mapping[str, list[dict[str, Any]]],
    categories: Mapping[str, Mapping[str, Any]],
    licenses: Mapping[str, str],
    root: Path,
    path: Path,
) -> Listing:
    """One item an annotation, `<image>#<annotation>`: its box, or the whole image where it has none (note `without_box`).

    A box that is malformed, empty or outside its image is dropped with its reason, an annotation of an absent image as
    `annotation_without_image`; images without an annotation are no items (note `images_without_annotation`).
    """
    images = {as_text(image.get("id")): image for image in tables["images"]}
    dropped: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    for number, annotation in enumerate(tables["annotations"]):
        image = images.get(as_text(annotation.get("image_id")))
        if image is None:
            dropped["annotation_without_image"] += 1
            continue
        crop = crop_of(annotation["bbox"], number_of(image, "width"), number_of(image, "height")) if annotation.get("bbox") else None
        if isinstance(crop, Dropped):
            dropped[crop.reason] += 1
            continue
        notes["without_box"] += crop is None
        item = _item(image, categories.get(as_text(annotation.get("category_id")), {}), licenses)
        place = None if crop is None else [crop["crop_x"], crop["crop_y"], crop["crop_width"], crop["crop_height"]]
        rows.append(item | {"item_id": f"{item['item_id']}#{as_text(annotation.get('id')) or number}", "crop": place})
    notes["images_without_annotation"] = len(images) - len({as_text(one.get("image_id")) for one in tables["annotations"]} & images.keys())
    return Listing(_columns(rows), str(root), (path,), dict(dropped), dict(notes))


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row.get(name) for row in rows] for name in sorted({name for row in rows for name in row})}


def _tables(path: Path) -> dict[str, list[dict[str, Any]]]:
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in _KEYS}
    try:
        with path.open("rb") as stream:
            for name, index, item in read_items(stream, str(path), _KEYS):
                if index < 0 or not isinstance(item, dict) or not as_text(item.get(_KEYS[name])):
                    raise ArchiveError(f"{path}: {name}[{index}]: an object with {_KEYS[name]!r} is required.")
                tables[name].append({key: value for key, value in item.items() if key not in {"segmentation", "keypoints"}})
    except (ArchiveError, OSError) as error:
        raise SettingsError(f"evaluation set {str(path)!r} cannot be read as COCO: {error}") from None
    return tables


def _item(image: Mapping[str, Any], category: Mapping[str, Any], licenses: Mapping[str, str]) -> dict[str, Any]:
    label = as_text(category.get("name")) or None
    ranks = {rank: as_text(category.get(rank)) or None for rank in RANK_COLUMNS}
    has_epithet = bool(ranks["genus"] and as_text(category.get("specific_epithet")))
    return ranks | {
        "item_id": as_text(image.get("id")),
        "image": as_text(image.get("file_name")).replace("\\", "/") or None,
        "label": label,
        "scientific_name": label,
        "species": f"{ranks['genus']} {as_text(category.get('specific_epithet'))}" if has_epithet else None,
        "common_name": as_text(category.get("common_name")) or None,
        "license": licenses.get(as_text(image.get("license"))) or None,
        "observer": as_text(image.get("rights_holder")) or None,
        "event_date": as_text(image.get("date")) or as_text(image.get("datetime")) or None,
    }


FORMAT = SetFormat(_is_json, _read, (".json",))
