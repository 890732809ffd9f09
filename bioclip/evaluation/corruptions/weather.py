"""Snow, frost and fog."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.corruptions.blur import move_along

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SNOW = (
    (0.1, 0.3, 3.0, 0.5, 10, 4, 0.8),
    (0.2, 0.3, 2.0, 0.5, 12, 4, 0.7),
    (0.55, 0.3, 4.0, 0.9, 12, 8, 0.7),
    (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
    (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
)
"""Mean and deviation of the flakes, their size, threshold, radius and deviation of their fall, share of the image that remains."""
_FROST = ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))
"""Weights of the image and of the frost."""
_FOG = ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))
"""Strength of the fog, and how fast its structure gets finer."""
_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def snow(pixels: NDArray[np.float32], severity: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Flakes that fall aslant, on an image that is brightened and loses colour."""
    from scipy.ndimage import zoom

    mean, deviation, size, threshold, radius, fall, kept = _SNOW[severity - 1]
    height, width = pixels.shape[:2]
    drawn = random.normal(mean, deviation, size=(int(height / size) + 2, int(width / size) + 2))
    flakes = np.clip(zoom(drawn, size, order=1)[:height, :width], 0, 1)
    flakes[flakes < threshold] = 0
    layer = move_along(flakes[..., None].repeat(3, axis=2).astype(np.float32), radius, fall, random.uniform(45, 135))
    grey = (pixels @ _GREY)[..., None] * 1.5 + 0.5
    faded = kept * pixels + (1 - kept) * np.maximum(pixels, grey)
    found: NDArray[np.float32] = faded + layer + layer[::-1, ::-1]
    return found


def frost(pixels: NDArray[np.float32], severity: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Pale crystals, drawn as ridges of a fractal."""
    of_image, of_frost = _FROST[severity - 1]
    ridges = 1 - np.abs(2 * fractal(pixels.shape[0], pixels.shape[1], 1.6, random) - 1)
    crystals = np.clip(ridges**4 * 1.2, 0, 1)[..., None] * np.array([0.85, 0.93, 1.0], dtype=np.float32)
    return (of_image * pixels + of_frost * crystals).astype(np.float32)


def fog(pixels: NDArray[np.float32], severity: int, random: np.random.Generator) -> NDArray[np.float32]:
    """A fractal of white, with the brightest value of the image kept."""
    strength, roughness = _FOG[severity - 1]
    greatest = float(pixels.max())
    layer = fractal(pixels.shape[0], pixels.shape[1], roughness, random)[..., None]
    return ((pixels + strength * layer) * greatest / (greatest + strength)).astype(np.float32)


def fractal(height: int, width: int, roughness: float, random: np.random.Generator) -> NDArray[np.float32]:
    """[height, width] values from 0 to 1: noise of octaves that double in detail, each `roughness` times weaker than the one before."""
    from scipy.ndimage import zoom

    total = np.zeros((height, width), dtype=np.float32)
    detail, weight = 2, 1.0
    while detail <= max(height, width):
        drawn = random.random((detail + 1, detail + 1))
        scale = (height / detail, width / detail)
        layer = zoom(drawn, (scale[0] + 1e-9, scale[1] + 1e-9), order=1)
        total += weight * layer[:height, :width].astype(np.float32)
        detail, weight = 2 * detail, weight / roughness
    low, high = float(total.min()), float(total.max())
    found: NDArray[np.float32] = (total - low) / max(high - low, 1e-9)
    return found
