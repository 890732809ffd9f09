"""Photographs of a benchmark for a page: thumbnails of some of its images, with what the set states about them."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from PIL import Image, UnidentifiedImageError

from bioclip.report.data.samples.sample_summary import Photo, Thumbnail
from bioclip.report.data.samples.thumbnails import shrink_image

if TYPE_CHECKING:
    from bioclip.evaluation_sets.evaluation_set import EvaluationSet

_STATED = ("label", "source", "license")


def read_photos(images: EvaluationSet, item_ids: Collection[str]) -> dict[str, Photo]:
    """Item id -> photograph; one that cannot be read has no thumbnail."""
    chosen = images.select(item_ids)
    thumbnails = {key: found for key, data in chosen.iter_images() if (found := _shrink(data)) is not None}
    rows = chosen.table.select(["item_id", *_STATED]).to_pylist()
    return {row["item_id"]: _photo(row, thumbnails.get(row["item_id"])) for row in rows}


def _shrink(data: bytes) -> Thumbnail | None:
    try:
        with Image.open(io.BytesIO(data)) as image:
            size = image.size
        return Thumbnail(shrink_image(data), *size)
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError):
        return None


def _photo(row: Mapping[str, Any], thumbnail: Thumbnail | None) -> Photo:
    width, height = (thumbnail.original_width, thumbnail.original_height) if thumbnail else (0, 0)
    label, source, licence = (row[name] or "" for name in _STATED)
    return Photo(row["item_id"], label, "species", source, licence, source, "", width, height, "", "", "", thumbnail)
