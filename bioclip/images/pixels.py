"""Display pixels: upright 8-bit RGB, from an image in any of Pillow's modes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WHITE_LEVELS = (255, 1023, 4095, 16383, 65535, 2**24 - 1, 2**31 - 1, 2**32 - 1)
"""Largest values of 8, 10, 12, 14, 16, 24, 31 and 32 bits."""


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """The image with an EXIF orientation (1 to 8) applied."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def to_rgb(image: Image.Image, image_format: str = "") -> Image.Image:
    """8-bit RGB. Transparency is composited over white, and deeper samples are scaled by their white level.

    The white level of a PNG is 65,535 by its specification. A TIFF does not state it: 1 for floating-point samples up to 1, otherwise
    the largest value of 8, 10, 12, 14, 16 bits and so on that covers the image, so 12 bits in a 16-bit file are not dark. Negative
    samples move the black level; samples that are not finite are black.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or image.mode in {"I", "F"}:
        return _deep_to_rgb(np.asarray(image), image_format)
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        layered = image.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        return Image.alpha_composite(white, layered).convert("RGB")
    return image.convert("RGB")


def _deep_to_rgb(samples: NDArray[np.generic], image_format: str) -> Image.Image:
    values = np.nan_to_num(samples.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    black, largest = min(0.0, float(values.min(initial=0.0))), float(values.max(initial=0.0))
    if black < 0:
        white = max(largest, black + 1e-12)
    elif samples.dtype.kind == "f" and largest <= 1:
        white = 1.0
    elif image_format in {"PNG", ""}:
        white = 65535.0
    else:
        white = next((float(level) for level in _WHITE_LEVELS if level >= largest), largest)
    scaled = (values - black) / (white - black)
    levels = np.floor(scaled * 256) if white > 255 else np.rint(scaled * 255)
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8)).convert("RGB")
