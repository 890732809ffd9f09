"""Transform from JPEG to a square of uint8 pixels, random for training and deterministic for evaluation.

Images are decoded at the JPEG's own reduced scale (1, 1/2, 1/4 or 1/8) if that still has more pixels than are used. The crop is
the random resized crop of Szegedy et al. 2015 ("Going deeper with convolutions"), with the ranges of area and aspect that BioCLIP uses.
"""

from __future__ import annotations

import math
from random import Random

from bioclip.models.preprocessing import Box

MIN_ASPECT, MAX_ASPECT = 3 / 4, 4 / 3
_CROP_ATTEMPTS = 10


def decode_px(image_px: int, min_crop_area: float) -> int:
    """Least side in pixels to decode at, so that even the smallest crop has `image_px` pixels per side if the image does."""
    return math.ceil(image_px / math.sqrt(min_crop_area * MIN_ASPECT))


def random_crop(width: int, height: int, min_area: float, random: Random) -> Box:
    """(left, upper, right, lower) of a crop with `min_area` to 1 of the area and an aspect of 3/4 to 4/3.

    Ten draws are tried; if none fits, the largest central crop whose aspect is within the range.
    """
    for _ in range(_CROP_ATTEMPTS):
        area = width * height * random.uniform(min_area, 1)
        aspect = math.exp(random.uniform(math.log(MIN_ASPECT), math.log(MAX_ASPECT)))
        crop_width, crop_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            left, upper = random.randint(0, width - crop_width), random.randint(0, height - crop_height)
            return left, upper, left + crop_width, upper + crop_height
    crop_width = min(width, max(1, round(height * MAX_ASPECT)))
    crop_height = min(height, max(1, round(width / MIN_ASPECT)))
    left, upper = (width - crop_width) // 2, (height - crop_height) // 2
    return left, upper, left + crop_width, upper + crop_height
