"""The random resized crop of training (Szegedy et al. 2015, "Going deeper with convolutions"), with BioCLIP's ranges of area and aspect."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bioclip.models.preprocessing import Box

MIN_ASPECT, MAX_ASPECT = 3 / 4, 4 / 3
_CROP_ATTEMPTS, _DRAWS_PER_ATTEMPT = 10, 4
NUM_CROP_DRAWS = _CROP_ATTEMPTS * _DRAWS_PER_ATTEMPT
"""Uniform numbers that a crop may use."""
_LOG_MIN, _LOG_MAX = math.log(MIN_ASPECT), math.log(MAX_ASPECT)


def decode_px(image_px: int, min_crop_area: float) -> int:
    """Least side in pixels to decode at, so that even the smallest crop has `image_px` pixels per side if the image does."""
    return math.ceil(image_px / math.sqrt(min_crop_area * MIN_ASPECT))


def random_crop(width: int, height: int, min_area: float, draws: Sequence[float]) -> Box:
    """(left, upper, right, lower) of a crop with `min_area` to 1 of the area and an aspect of 3/4 to 4/3.

    `draws` are NUM_CROP_DRAWS uniform numbers, four for each of ten attempts; if none fits, the largest central crop whose aspect is
    within the range.
    """
    for first in range(0, NUM_CROP_DRAWS, _DRAWS_PER_ATTEMPT):
        area = width * height * (min_area + (1 - min_area) * draws[first])
        aspect = math.exp(_LOG_MIN + (_LOG_MAX - _LOG_MIN) * draws[first + 1])
        crop_width, crop_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            left = int(draws[first + 2] * (width - crop_width + 1))
            upper = int(draws[first + 3] * (height - crop_height + 1))
            return left, upper, left + crop_width, upper + crop_height
    crop_width = min(width, max(1, round(height * MAX_ASPECT)))
    crop_height = min(height, max(1, round(width / MIN_ASPECT)))
    left, upper = (width - crop_width) // 2, (height - crop_height) // 2
    return left, upper, left + crop_width, upper + crop_height
