"""COCO documents: images, annotations and categories in any order, joined without holding images or annotations in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bioclip.delimited.content import open_content
from bioclip.delimited.text import as_text
from bioclip.errors import ArchiveError
from bioclip.sources.contract import Dropped
from bioclip.sources.external.row_index import RowIndex, row_index
from bioclip.sources.parsing.json_stream import read_items

_NOT_KEPT = {"segmentation", "keypoints"}


@dataclass(frozen=True)
class Image:
    """An image with its annotations in the file's order; `where` names it in messages."""

    where: str
    values: Mapping[str, Any]
    annotations: list[Mapping[str, Any]]


@dataclass(frozen=True)
class CocoFile:
    """An open document; use `open_coco`. Categories and licences are in memory by id, annotations on disk."""

    path: Path
    categories: Mapping[str, Mapping[str, Any]]
    licenses: Mapping[str, Mapping[str, Any]]
    annotations: RowIndex

    def images(self) -> Iterator[Image | Dropped]:
        """Every image once, in the file's order; then annotations without an image as Dropped."""
        seen = False
        for where, _, key, image in _objects(self.path, {"images": "id"}):
            seen = True
            found = self.annotations.take(key)
            if found is None:
                yield Dropped("image_repeated")
            elif not found:
                yield Dropped("image_without_annotation")
            else:
                yield Image(where, image, found)
        if not seen:
            raise ArchiveError(f"{self.path}: the array 'images' is missing or empty; a COCO document is required.")
        if orphans := self.annotations.num_left():
            yield Dropped("annotation_without_image", orphans)


@contextmanager
def open_coco(path: Path) -> Iterator[CocoFile]:
    """Read all but the images of a .json file (or one in a .gz or .zip); raises ArchiveError with file, JSON path and rule."""
    tables: dict[str, dict[str, Mapping[str, Any]]] = {"categories": {}, "licenses": {}}

    def annotations() -> Iterator[tuple[str, Any]]:
        for _, name, key, item in _objects(path, {"annotations": "image_id", "categories": "id", "licenses": "id"}):
            if name == "annotations":
                yield key, {member: value for member, value in item.items() if member not in _NOT_KEPT}
            else:
                tables[name][key] = item

    with row_index() as index:
        index.fill(annotations())
        if not tables["categories"]:
            raise ArchiveError(f"{path}: the array 'categories' is missing or empty; a COCO document is required.")
        yield CocoFile(path, tables["categories"], tables["licenses"], index)


def text_of(item: Mapping[str, Any], name: str) -> str:
    """A member as text, or ''."""
    return as_text(item.get(name))


def url_of(item: Mapping[str, Any]) -> str:
    """Where an image is: its `file_name`, else its address."""
    return next((text for name in ("file_name", "coco_url", "url", "flickr_url") if (text := text_of(item, name).strip())), "")


def license_of(coco: CocoFile, item: Mapping[str, Any]) -> str:
    """The text of an image's licence: the entry of the document's list, else what the image states."""
    stated = text_of(item, "license")
    entry = coco.licenses.get(stated, {})
    return text_of(entry, "url") or text_of(entry, "name") or (f"licence {stated}" if stated.isdigit() else stated)


def number_of(item: Mapping[str, Any], name: str) -> float | None:
    """A member as a finite number, or None."""
    try:
        number = float(item[name])
    except (KeyError, TypeError, ValueError):
        return None
    return number if abs(number) < 1e12 else None


def verbatim_of(item: Mapping[str, Any], handled: set[str], prefix: str = "") -> dict[str, str]:
    """The members without a field of a record, as text; objects and lists as JSON."""
    return {prefix + name: text for name in item if name not in handled and (text := as_text(item[name]))}


def _objects(path: Path, arrays: Mapping[str, str]) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """(where, array, key, item) of the arrays, each with the member that is its key; an annotation without one belongs to no image."""
    with open_content(path, {".json"}) as (where, stream):
        for name, index, item in read_items(stream, where, arrays):
            place = f"{where}: {name}[{index}]"
            if index < 0:
                raise ArchiveError(f"{where}: {name}: an array is required, found {type(item).__name__}.")
            if not isinstance(item, dict):
                raise ArchiveError(f"{place}: an object is required, found {type(item).__name__}.")
            if not (key := as_text(item.get(arrays[name]))) and name != "annotations":
                raise ArchiveError(f"{place}: {arrays[name]} is missing; every item must have one.")
            yield place, name, key, item
