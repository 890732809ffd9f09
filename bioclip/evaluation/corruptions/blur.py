"""Blur of lenses, glass and motion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DISK_RADIUS_AND_SOFTNESS = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))
_GLASS_DEVIATION_SHIFT_ROUNDS = ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2))
_MOTION_RADIUS_AND_DEVIATION = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))
_GREATEST_ZOOM_AND_STEP = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))
_GREATEST_ANGLE = 45.0


def defocus(pixels: NDArray[np.float32], severity: int, random: np.random.Generator) -> NDArray[np.float32]:
    """A disk, its edge softened."""
    from scipy.ndimage import gaussian_filter

    radius, softness = _DISK_RADIUS_AND_SOFTNESS[severity - 1]
    places = np.arange(-max(8, radius), max(8, radius) + 1)
    disk = (places[:, None] ** 2 + places**2 <= radius**2).astype(np.float32)
    return _convolve(pixels, gaussian_filter(disk / disk.sum(), softness))


def look_through_glass(pixels: NDArray[np.float32], severity: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Neighbouring pixels exchanged, between two soft blurs."""
    from scipy.ndimage import gaussian_filter

    deviation, shift, rounds = _GLASS_DEVIATION_SHIFT_ROUNDS[severity - 1]
    found = gaussian_filter(pixels, (deviation, deviation, 0))
    height, width = pixels.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    for _ in range(rounds):
        moved = random.integers(-shift, shift, endpoint=True, size=(2, height, width))
        found = found[np.clip(rows + moved[0], 0, height - 1), np.clip(columns + moved[1], 0, width - 1)]
    blurred: NDArray[np.float32] = gaussian_filter(found, (deviation, deviation, 0))
    return blurred


def move(pixels: NDArray[np.float32], severity: int, random: np.random.Generator) -> NDArray[np.float32]:
    """A camera in motion, in a direction within 45 degrees of the horizontal."""
    return move_along(pixels, *_MOTION_RADIUS_AND_DEVIATION[severity - 1], random.uniform(-_GREATEST_ANGLE, _GREATEST_ANGLE))


def move_along(pixels: NDArray[np.float32], radius: int, deviation: float, angle: float) -> NDArray[np.float32]:
    """`pixels` [H, W, 3] averaged along a line of 2 `radius` + 1 pixels to one side, with the weights of a normal distribution."""
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * deviation**2))
    weights /= weights.sum()
    down, right = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    height, width = pixels.shape[:2]
    rows, columns = np.arange(height), np.arange(width)
    found = np.zeros_like(pixels)
    for step, weight in zip(steps.tolist(), weights.tolist(), strict=True):
        moved_rows = np.clip(rows - round(step * down), 0, height - 1)
        moved_columns = np.clip(columns - round(step * right), 0, width - 1)
        found += np.float32(weight) * pixels[moved_rows[:, None], moved_columns]
    return found


def zoom(pixels: NDArray[np.float32], severity: int, random: np.random.Generator) -> NDArray[np.float32]:
    """The mean of the image and of enlarged ones, as of a lens that zooms during the exposure."""
    greatest, step = _GREATEST_ZOOM_AND_STEP[severity - 1]
    zooms = np.arange(1, greatest, step)
    total = pixels + sum(_enlarge(pixels, float(one)) for one in zooms)
    return (total / (len(zooms) + 1)).astype(np.float32)


def _enlarge(pixels: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """The middle of the image, enlarged to its size."""
    from scipy.ndimage import map_coordinates

    height, width = pixels.shape[:2]
    rows = (np.arange(height) - (height - 1) / 2) / factor + (height - 1) / 2
    columns = (np.arange(width) - (width - 1) / 2) / factor + (width - 1) / 2
    grid = np.meshgrid(rows, columns, indexing="ij")
    return np.stack([map_coordinates(pixels[..., one], grid, order=1, mode="nearest") for one in range(3)], axis=-1)


def _convolve(pixels: NDArray[np.float32], kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    from scipy.signal import fftconvolve

    edge = kernel.shape[0] // 2
    padded = np.pad(pixels, ((edge, edge), (edge, edge), (0, 0)), mode="reflect" if min(pixels.shape[:2]) > edge else "edge")
    return np.stack([fftconvolve(padded[..., one], kernel, mode="valid") for one in range(3)], axis=-1).astype(np.float32)
