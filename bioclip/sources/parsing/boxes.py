"""Boxes around organisms as the whole pixels that a record is cropped to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

from bioclip.sources.contract import Dropped

_MAX_PIXELS = (1 << 31) - 1


class Crop(TypedDict, total=False):
    """The record's fields of a crop; none for the whole image."""

    crop_x: int
    crop_y: int
    crop_width: int
    crop_height: int


def crop_of(box: Sequence[float | None], image_width: float | None, image_height: float | None) -> Crop | Dropped:
    """The record's crop fields of (left, top, width, height) in pixels, rounded outwards and cut to the image where its size is known.

    Dropped for a box that is malformed, empty, beyond 2^31 pixels, or has no pixel inside the image.
    """
    if len(box) != 4 or any(side is None for side in box):
        return Dropped("box_malformed")
    left, top, width, height = (float(side) for side in box if side is not None)
    if width <= 0 or height <= 0:
        return Dropped("box_empty")
    right = min(left + width, image_width or math.inf)
    bottom = min(top + height, image_height or math.inf)
    left, top = max(left, 0.0), max(top, 0.0)
    if left >= right or top >= bottom:
        return Dropped("box_outside_image")
    x, y = math.floor(left), math.floor(top)
    if max(right, bottom) > _MAX_PIXELS:
        return Dropped("crop_out_of_range")
    return Crop(crop_x=x, crop_y=y, crop_width=math.ceil(right) - x, crop_height=math.ceil(bottom) - y)
