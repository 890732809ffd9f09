"""From JPEG to a square of uint8 pixels, at random for training and by rule for evaluation.

Images are decoded at the JPEG's own reduced scale (1, 1/2, 1/4 or 1/8) where that still has more pixels than are used. The crop is
the random resized crop of Szegedy et al. 2015 ("Going deeper with convolutions"), with the ranges of area and aspect that BioCLIP uses.
"""

from __future__ import annotations

import io
import math
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from bioclip.errors import TrainingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_ASPECT, MAX_ASPECT = 3 / 4, 4 / 3
_CROP_ATTEMPTS = 10

Box = tuple[int, int, int, int]


def decode_px(image_px: int, min_crop_area: float) -> int:
    """Least side in pixels to decode at, so that even the smallest crop has `image_px` pixels a side where the image does."""
    return math.ceil(image_px / math.sqrt(min_crop_area * MIN_ASPECT))


def decode(data: bytes, least_px: int, name: str) -> Image.Image:
    """RGB image whose shorter side has at least `least_px` pixels, if the original has; raises TrainingError that names the sample."""
    try:
        image = Image.open(io.BytesIO(data))
        image.draft("RGB", (least_px, least_px))
        return image.convert("RGB")
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise TrainingError(f"the image of sample {name!r} cannot be decoded: {error}; the shard was damaged: release again.") from None


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


def square(image: Image.Image, image_px: int, box: Box, flip: bool = False) -> NDArray[np.uint8]:
    """The part `box` of an image, resized bicubically, as uint8 [3, image_px, image_px]."""
    resized = image.resize((image_px, image_px), Image.Resampling.BICUBIC, box=box)
    if flip:
        resized = resized.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pixels: NDArray[np.uint8] = np.asarray(resized).transpose(2, 0, 1).copy()
    return pixels


def evaluation_square(data: bytes, image_px: int, resize_mode: str, name: str) -> NDArray[np.uint8]:
    """uint8 [3, image_px, image_px] of a whole image (`squash`) or of its central square (`shortest`)."""
    image = decode(data, image_px, name)
    width, height = image.size
    if resize_mode == "squash":
        return square(image, image_px, (0, 0, width, height))
    side = min(width, height)
    left, upper = (width - side) // 2, (height - side) // 2
    return square(image, image_px, (left, upper, left + side, upper + side))


def cost_bytes(image: Any) -> int:
    """Memory that a decoded image takes: Pillow keeps four bytes a pixel."""
    return int(image.width * image.height * 4)
