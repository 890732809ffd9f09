"""Transform from encoded images to the square uint8 pixels that training takes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from bioclip.errors import TrainingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Box = tuple[int, int, int, int]


def decode(data: bytes, least_px: int, name: str) -> Image.Image:
    """RGB image whose shorter side has at least `least_px` pixels, if the original has; raises TrainingError that names the sample."""
    try:
        image = Image.open(io.BytesIO(data))
        image.draft("RGB", (least_px, least_px))
        return image.convert("RGB")
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise TrainingError(
            f"the image of sample {name!r} cannot be decoded: {error}; the shard is damaged: build the release again."
        ) from None


def square(image: Image.Image, image_px: int, box: Box, flip: bool = False) -> NDArray[np.uint8]:
    """The part `box` of an image, resized bicubically, as uint8 [3, image_px, image_px]."""
    resized = image.resize((image_px, image_px), Image.Resampling.BICUBIC, box=box)
    if flip:
        resized = resized.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pixels: NDArray[np.uint8] = np.asarray(resized).transpose(2, 0, 1).copy()
    return pixels


def cost_bytes(image: Any) -> int:
    """Memory that a decoded image takes: Pillow keeps four bytes per pixel."""
    return int(image.width * image.height * 4)
