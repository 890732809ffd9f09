"""Brightness, contrast, distortion, low resolution and compression."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BRIGHTER = (0.1, 0.2, 0.3, 0.4, 0.5)
_CONTRAST = (0.4, 0.3, 0.2, 0.1, 0.05)
_ELASTIC = ((2.0, 0.7, 0.1), (2.0, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
"""Strength, smoothness and affine shift, in shares of 244 px, the paper's unit."""
_ELASTIC_PX = 244
_PIXELATE = (0.6, 0.5, 0.4, 0.3, 0.25)
_JPEG_QUALITY = (25, 18, 15, 10, 7)


def brighten(pixels: NDArray[np.float32], severity: int, random: np.random.Generator) -> NDArray[np.float32]:
    """The value (of hue, saturation, value) raised."""
    value = pixels.max(axis=2, keepdims=True)
    raised = np.clip(value + _BRIGHTER[severity - 1], 0, 1)
    found: NDArray[np.float32] = np.where(value > 0, pixels * raised / np.maximum(value, 1e-6), raised)
    return found


def flatten(pixels: NDArray[np.float32], severity: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Each channel drawn to its mean."""
    means = pixels.mean(axis=(0, 1), keepdims=True)
    found: NDArray[np.float32] = (pixels - means) * np.float32(_CONTRAST[severity - 1]) + means
    return found


def distort(pixels: NDArray[np.float32], severity: int, random: np.random.Generator) -> NDArray[np.float32]:
    """An affine shift and a smooth displacement of all pixels."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    strength, smoothness, shift = (share * _ELASTIC_PX for share in _ELASTIC[severity - 1])
    height, width = pixels.shape[:2]
    corners = random.uniform(-shift, shift, size=(2, 3))
    down, right = np.mgrid[:height, :width] / np.array([max(height - 1, 1), max(width - 1, 1)])[:, None, None]
    affine = [row[0] * down + row[1] * right + row[2] * (1 - down - right) for row in corners]
    fields = [strength * gaussian_filter(random.uniform(-1, 1, (height, width)), smoothness, mode="reflect", truncate=3) for _ in range(2)]
    rows, columns = np.mgrid[:height, :width]
    places = [rows + affine[0] + fields[0], columns + affine[1] + fields[1]]
    return np.stack([map_coordinates(pixels[..., one], places, order=1, mode="reflect") for one in range(3)], axis=-1)


def pixelate(pixels: NDArray[np.float32], severity: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Reduced by averaging and enlarged again in blocks."""
    image = _image(pixels)
    share = _PIXELATE[severity - 1]
    small = image.resize((max(1, int(image.width * share)), max(1, int(image.height * share))), Image.Resampling.BOX)
    return _pixels(small.resize(image.size, Image.Resampling.BOX))


def compress(pixels: NDArray[np.float32], severity: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Written as JPEG of low quality and read again."""
    buffer = io.BytesIO()
    _image(pixels).save(buffer, "JPEG", quality=_JPEG_QUALITY[severity - 1])
    with Image.open(buffer) as image:
        return _pixels(image.convert("RGB"))


def _image(pixels: NDArray[np.float32]) -> Image.Image:
    return Image.fromarray((np.clip(pixels, 0, 1) * 255).round().astype(np.uint8))


def _pixels(image: Image.Image) -> NDArray[np.float32]:
    return np.asarray(image, dtype=np.float32) / np.float32(255)
