"""The second signal of near pairs: the correlation of 16 x 16 grey thumbnails, under the changes that copies have.

A pair is confirmed when a correlation r of its thumbnails is high enough for what was allowed to differ: 1 - r times a factor is at
most 1 - `min_correlation`.

| compared | factor |
|-|-|
| as they are, or after a tone curve of second degree: other brightness, contrast or gamma, or overexposed | 1 |
| coarse detail only: one picture was once reduced to a few pixels | 3 |
| all but a band of three rows or columns: a caption or watermark | 2.5 |
| gradients after one of the two is cropped | 0.15 for each bit of the pHash distance, at least 4 |
| all but a band after one of the two is cropped | 0.4 for each bit, at least 4 |

The number of other pictures with a near hash grows with the distance, and frames of one film resemble each other when they are aligned,
so cropped pairs need more the further their hashes are apart. Without a band, pictures are compared in their low frequencies: in
copies of another size or crop the finest detail of a thumbnail differs, in other pictures also the rest.
The constants are measured in docs/concepts/near-duplicates.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bioclip.duplicates.alignment import INNER_SIDE, Cells, crop_to_fit, inner_cells, row_products, scale_to_unit
from bioclip.images.hashing import THUMBNAIL_BYTES, THUMBNAIL_SIDE

Thumbnails = npt.NDArray[np.uint8]
"""Grey thumbnails (N, THUMBNAIL_BYTES), row by row."""
BoolArray = npt.NDArray[np.bool_]

_COARSE_FACTOR, _BAND_FACTOR = 3.0, 2.5
_CROP_FACTOR, _CROP_BAND_FACTOR, _LEAST_BITS = 0.15, 0.4, 4
_BAND = 3
"""Rows or columns of a band that may differ."""
_LEAST_TO_CURVE, _LEAST_TO_CROP, _LEAST_TO_MASK = 0.9, 0.7, 0.3
"""Least correlations as they are at which a tone curve, a crop and a band are considered; with less they do not help."""
_DECIMALS = 6
_BATCH_PAIRS = 1 << 10


def _transform(side: int, number: int) -> Cells:
    """The lowest rows (number, side) of the orthogonal DCT-II of `side` samples, up to a common factor."""
    frequencies = np.arange(number)
    cosines = np.cos(np.pi * np.outer(frequencies, (np.arange(side) + 0.5) / side))
    rows: Cells = cosines * np.where(frequencies > 0, 1.0, np.sqrt(0.5))[:, None]
    return rows


_LOW, _INNER_LOW, _COARSE = 11, 10, 6
"""Frequencies in each direction: those of thumbnails, of their inner cells, and of coarse detail, that are compared."""
_TRANSFORM, _INNER_TRANSFORM = _transform(THUMBNAIL_SIDE, _LOW), _transform(INNER_SIDE, _INNER_LOW)
_IS_COARSE = np.pad(np.ones((_COARSE, _COARSE), bool), (0, _LOW - _COARSE)).ravel()[1:]
_RADII = np.hypot(*np.indices((_INNER_LOW, _INNER_LOW))).ravel()
"""Weights of frequencies in the gradient."""


def read_thumbnails(column: pa.ChunkedArray) -> tuple[Thumbnails, BoolArray]:
    """(thumbnails with zeros for nulls, which rows have one) of a column of fixed-size binaries."""
    filled = pc.fill_null(column.cast(pa.binary(THUMBNAIL_BYTES)), bytes(THUMBNAIL_BYTES)).combine_chunks()
    chunks = filled.chunks if isinstance(filled, pa.ChunkedArray) else [filled]
    parts = [np.frombuffer(chunk.buffers()[1], np.uint8).reshape(-1, THUMBNAIL_BYTES)[chunk.offset :][: len(chunk)] for chunk in chunks]
    cells = np.concatenate([np.empty((0, THUMBNAIL_BYTES), np.uint8), *parts])
    return cells, np.asarray(pc.is_valid(column).to_numpy(), bool)


def number_thumbnails(thumbnails: Thumbnails) -> npt.NDArray[np.int64]:
    """A number for each thumbnail, the same for equal ones."""
    values = np.ascontiguousarray(thumbnails).view(np.dtype((np.void, thumbnails.shape[1]))).ravel()
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def confirm_pairs(
    left: Thumbnails,
    right: Thumbnails,
    left_rows: npt.NDArray[np.int64],
    right_rows: npt.NDArray[np.int64],
    distances: npt.NDArray[np.integer],
    min_correlation: float,
    num_orientations: int = 1,
) -> BoolArray:
    """Which pairs (rows of `left`, rows of `right`, pHash `distances` in bits) have a correlation of at least `min_correlation`.

    `num_orientations`: 1, 2 (also mirrored) or 8 (all orientations of `left`). Each pair is judged alone, and alike in both orders.
    """
    confirmed = np.zeros(len(left_rows), bool)
    for low in range(0, len(left_rows), _BATCH_PAIRS):
        chosen = slice(low, low + _BATCH_PAIRS)
        one, other = left[left_rows[chosen]].astype(np.float64), right[right_rows[chosen]].astype(np.float64)
        found = confirmed[chosen]
        for turned in _orientations(one, num_orientations):
            rest = np.flatnonzero(~found)
            found[rest] = _are_copies(turned[rest], other[rest], distances[chosen][rest], min_correlation)
    return confirmed


def _orientations(cells: Cells, number: int) -> Iterator[Cells]:
    """Thumbnails as they are, mirrored, and with 8 orientations turned by right angles too."""
    grid = cells.reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    for turns in range(4 if number > 2 else 1):
        for view in (grid, grid[:, :, ::-1])[: min(number, 2)]:
            yield np.rot90(view, turns, (1, 2)).reshape(-1, THUMBNAIL_BYTES)


@dataclass(frozen=True)
class _Features:
    """Unit vectors of N thumbnails: their low frequencies, what a tone curve can add to these, and the coarse ones alone."""

    low: Cells
    curve: Cells
    coarse: Cells

    @classmethod
    def of(cls, cells: Cells) -> _Features:
        low = scale_to_unit(_low_frequencies(cells))
        squares = _low_frequencies(cells * cells)
        curve = scale_to_unit(squares - row_products(squares, low)[:, None] * low)
        return cls(low, curve, scale_to_unit(low[:, _IS_COARSE]))


def _are_copies(one: Cells, other: Cells, distances: npt.NDArray[np.integer], least: float) -> BoolArray:
    """Which rows reach a correlation of `least` under any of the changes of either side."""
    mine, theirs = _Features.of(one), _Features.of(other)
    plain = row_products(mine.low, theirs.low)
    curved = np.maximum(row_products(mine.curve, theirs.low) ** 2, row_products(mine.low, theirs.curve) ** 2)
    toned = np.where(plain >= _LEAST_TO_CURVE, np.sqrt(plain**2 + curved), plain)
    found = _reach(toned, 1.0, least) | _reach(row_products(mine.coarse, theirs.coarse), _COARSE_FACTOR, least)
    rest = np.flatnonzero(~found & (plain >= min(_LEAST_TO_MASK, least)))
    found[rest] = _reach(_outside_of_band(one[rest], other[rest]), _BAND_FACTOR, least)
    for cells, target in ((one, other), (other, one)):
        rest = np.flatnonzero(~found & (plain >= min(_LEAST_TO_CROP, least)))
        crops, fit = crop_to_fit(cells[rest], target[rest])
        fit = rest[fit]
        bits = np.maximum(_LEAST_BITS, distances[fit])
        found[fit] = _reach(row_products(_gradients(crops), _gradients(target[fit])), _CROP_FACTOR * bits, least)
        found[fit] |= _reach(_outside_of_band(crops, target[fit]), _CROP_BAND_FACTOR * bits, least)
    return found


def _reach(correlations: Cells, factor: float | Cells, least: float) -> BoolArray:
    """Which correlations suffice; rounded, so that the order of summation has no effect."""
    return np.round((1.0 - correlations) * factor, _DECIMALS) <= round(1.0 - least, _DECIMALS)


def _low_frequencies(cells: Cells) -> Cells:
    """Coefficients (N, 120) of the cosine transform without the mean."""
    grid = cells.reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    coefficients: Cells = (_TRANSFORM @ grid @ _TRANSFORM.T).reshape(-1, _LOW**2)[:, 1:]
    return coefficients


def _gradients(cells: Cells) -> Cells:
    """Unit vectors (N, 100): low frequencies of the inner cells, each times its radius as in the Fourier transform of the gradient."""
    grid = inner_cells(cells).reshape(-1, INNER_SIDE, INNER_SIDE)
    return scale_to_unit(_RADII * (_INNER_TRANSFORM @ grid @ _INNER_TRANSFORM.T).reshape(-1, _INNER_LOW**2))


def _outside_of_band(one: Cells, other: Cells) -> Cells:
    """The best correlation of the cells outside of a band of rows or columns."""
    grids = np.stack([one, other, one * one, other * other, one * other]).reshape(5, -1, THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    number = THUMBNAIL_BYTES - _BAND * THUMBNAIL_SIDE
    best = np.zeros(len(one))
    for axis in (2, 3):
        sums = np.cumsum(np.pad(grids.sum(axis=axis), ((0, 0), (0, 0), (1, 0))), axis=2)
        first, second, squares, other_squares, products = sums[:, :, -1:] - (sums[:, :, _BAND:] - sums[:, :, :-_BAND])
        spread = (squares - first**2 / number) * (other_squares - second**2 / number)
        values = (products - first * second / number) / np.sqrt(np.maximum(spread, 1.0))
        best = np.maximum(best, values.max(axis=1))
    return best
