"""Bounding boxes of organisms as crops in whole pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

from bioclip.images.checking import RELATIVE_SIDE
from bioclip.sources.contract import Dropped

_MAX_PIXELS = (1 << 31) - 1


class Crop(TypedDict, total=False):
    """The record's fields of a crop; none for the whole image."""

    crop_x: int
    crop_y: int
    crop_width: int
    crop_height: int
    crop_image_width: int
    crop_image_height: int


def crop_of(
    box: Sequence[float | None], image_width: float | None, image_height: float | None, *, may_be_relative: bool = True
) -> Crop | Dropped:
    """The record's crop fields of (left, top, width, height), rounded outwards to whole pixels.

    `image_width` and `image_height` are the size of the image that the box was drawn on, None where they are not stated. Where they are,
    the box is clipped to it, and the size is kept so that the crop can be scaled to the image that is served. A box within 0 to 1 is
    relative to the image unless `may_be_relative` is False.
    Dropped for a box that is malformed, empty, beyond 2^31 pixels, or has no pixel inside the image.
    """
    if len(box) != 4 or not all(side is not None and math.isfinite(side) for side in box):
        return Dropped("box_malformed")
    left, top, width, height = (float(side) for side in box if side is not None)
    if width <= 0 or height <= 0:
        return Dropped("box_empty")
    if may_be_relative and is_relative(left, top, width, height):
        left, top, width, height = (side * RELATIVE_SIDE for side in (left, top, width, height))
        image_width = image_height = RELATIVE_SIDE
    right = min(left + width, image_width or math.inf)
    bottom = min(top + height, image_height or math.inf)
    left, top = max(left, 0.0), max(top, 0.0)
    if left >= right or top >= bottom:
        return Dropped("box_outside_image")
    x, y = math.floor(left), math.floor(top)
    if max(right, bottom, image_width or 0, image_height or 0) > _MAX_PIXELS:
        return Dropped("crop_out_of_range")
    crop = Crop(crop_x=x, crop_y=y, crop_width=math.ceil(right) - x, crop_height=math.ceil(bottom) - y)
    if image_width and image_height:
        crop |= Crop(crop_image_width=round(image_width), crop_image_height=round(image_height))
    return crop


def is_relative(left: float, top: float, width: float, height: float) -> bool:
    """True for a box whose numbers are shares of the image's sides; a box in pixels is wider than one pixel."""
    return left >= 0 and top >= 0 and 0 < width <= 1 and 0 < height <= 1 and left + width <= 1.001 and top + height <= 1.001
