"""Noise of sensors and transmission."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GAUSSIAN_DEVIATION = (0.08, 0.12, 0.18, 0.26, 0.38)
_PHOTONS = (60, 25, 12, 5, 3)
_IMPULSE_SHARE = (0.03, 0.06, 0.09, 0.17, 0.27)


def add_gaussian(pixels: NDArray[np.float32], severity: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Normal noise, as in low light."""
    return pixels + random.normal(scale=_GAUSSIAN_DEVIATION[severity - 1], size=pixels.shape).astype(np.float32)


def add_shot(pixels: NDArray[np.float32], severity: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Poisson noise: a white pixel receives so many photons."""
    photons = _PHOTONS[severity - 1]
    return (random.poisson(pixels * photons) / photons).astype(np.float32)


def add_impulses(pixels: NDArray[np.float32], severity: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Values of single channels set to black or white."""
    drawn = random.random(pixels.shape)
    share = _IMPULSE_SHARE[severity - 1]
    return np.where(drawn < share / 2, 0, np.where(drawn < share, 1, pixels)).astype(np.float32)
