"""The 15 corruptions of ImageNet-C at five severities (Hendrycks and Dietterich 2019, "Benchmarking neural network robustness to common
corruptions and perturbations").

The constants are the paper's, made for images whose shorter side is 224 px. `frost` differs: the paper overlays photographs of frost, here
crystals are drawn. The other effects follow the paper's description; single pixels differ from its code.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from bioclip.evaluation.corruptions import blur, digital, noise, weather
from bioclip.evaluation.hashed_choice import hash_number

if TYPE_CHECKING:
    from numpy.typing import NDArray

Corruption = Callable[["NDArray[np.float32]", int, np.random.Generator], "NDArray[np.float32]"]
"""(pixels [H, W, 3] from 0 to 1, severity 1 to 5, source of randomness) -> pixels of the same shape, which may leave that range."""

SEVERITIES = (1, 2, 3, 4, 5)
SHORTER_SIDE_PX = 224
CORRUPTIONS: Mapping[str, Corruption] = {
    "gaussian_noise": noise.add_gaussian,
    "shot_noise": noise.add_shot,
    "impulse_noise": noise.add_impulses,
    "defocus_blur": blur.defocus,
    "glass_blur": blur.look_through_glass,
    "motion_blur": blur.move,
    "zoom_blur": blur.zoom,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": digital.brighten,
    "contrast": digital.flatten,
    "elastic_transform": digital.distort,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.compress,
}


def corrupt(image: Image.Image, name: str, severity: int, key: str) -> Image.Image:
    """`image` (RGB) with the corruption; the random numbers depend on `key`, the name and the severity alone."""
    pixels = np.asarray(image, dtype=np.float32) / np.float32(255)
    found = CORRUPTIONS[name](pixels, severity, np.random.default_rng(hash_number(name, severity, key)))
    return Image.fromarray((np.clip(found, 0, 1) * 255).round().astype(np.uint8))


def shrink(image: Image.Image, shorter_px: int) -> Image.Image:
    """`image` in RGB, resized so that its shorter side is `shorter_px`."""
    width, height = image.size
    scale = shorter_px / min(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return image.convert("RGB").resize(size, Image.Resampling.BICUBIC)


def encode_png(image: Image.Image) -> bytes:
    """The image without loss."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
