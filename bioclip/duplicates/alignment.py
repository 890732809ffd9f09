"""Crops of thumbnails: the part of one thumbnail that fits another best.

A thumbnail is the cosine series of its 16 x 16 cells, so that any part of it can be sampled. The part (a place and a share of the side
in each direction) is found by Gauss-Newton steps on the difference of the pictures (Lucas and Kanade, IJCAI 1981), from a central crop
of 2 %. Crops keep at least 88 % of each side. The outermost ring of cells is ignored, since a border around a picture bleeds into it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bioclip.images.hashing import THUMBNAIL_BYTES, THUMBNAIL_SIDE

Cells = npt.NDArray[np.float64]
"""Thumbnails (N, 256), row by row, or numbers about them (N,) or (N, features)."""

CENTRES = (np.arange(THUMBNAIL_SIDE) + 0.5) / THUMBNAIL_SIDE
"""Centres of the cells as shares of the side."""
INNER_SIDE = THUMBNAIL_SIDE - 2
_FREQUENCIES = np.arange(THUMBNAIL_SIDE)
_SERIES = np.linalg.inv(np.cos(np.pi * np.outer(CENTRES, _FREQUENCIES)))
_LEAST_SHARE, _FIRST_SHARE = 0.88, 0.98
_NUM_STEPS, _LONGEST_STEP = 2, 0.06
_HOPELESS = 0.9
"""Pairs that correlate less after the first step are not aligned further."""
_DAMPING = 1e-3


def crop_to_fit(cells: Cells, target: Cells) -> tuple[Cells, npt.NDArray[np.int64]]:
    """(crops [M, 256], rows [M] that they are of): `cells` (N, 256) cropped to fit `target` (N, 256), without those that do not get near.

    Each row is cropped independently of the others.
    """
    series = _SERIES @ cells.reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE) @ _SERIES.T
    normal = normalise(inner_cells(target))
    shares = np.full((2, len(cells)), _FIRST_SHARE)
    starts = (1 - shares) / 2
    rows = np.arange(len(cells))
    for number in range(_NUM_STEPS):
        pictures, derivatives = _sample(series[rows], shares, starts)
        if number:
            hope = row_products(normalise(pictures), normal[rows]) >= _HOPELESS
            rows, shares, starts = rows[hope], shares[:, hope], starts[:, hope]
            pictures, derivatives = pictures[hope], derivatives[hope]
        steps = _solve(pictures, derivatives, normal[rows])
        starts = starts + steps[:, 0::2].T
        shares = np.clip(shares + steps[:, 1::2].T, _LEAST_SHARE, 1)
        starts = np.clip(starts, 0, 1 - shares)
    (down, _), (across, _) = (_weights(share, start, CENTRES) for share, start in zip(shares, starts, strict=True))
    return (down @ (series[rows] @ across.transpose(0, 2, 1))).reshape(-1, THUMBNAIL_BYTES), rows


def inner_cells(cells: Cells) -> Cells:
    """Cells (N, 196) inside the outermost ring."""
    return cells.reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE)[:, 1:-1, 1:-1].reshape(-1, INNER_SIDE**2)


def _sample(series: Cells, shares: Cells, starts: Cells) -> tuple[Cells, Cells]:
    """(inner cells [N, 196] of crops, derivatives [N, 4, 196] by start and share, down and across)."""
    centres = CENTRES[1:-1]
    (down, down_slope), (across, across_slope) = (_weights(share, start, centres) for share, start in zip(shares, starts, strict=True))
    partial = series @ across.transpose(0, 2, 1)
    slopes_down, slopes_across = down_slope @ partial, down @ (series @ across_slope.transpose(0, 2, 1))
    derivatives = np.stack([slopes_down, slopes_down * centres[:, None], slopes_across, slopes_across * centres], axis=1)
    return (down @ partial).reshape(-1, INNER_SIDE**2), derivatives.reshape(-1, 4, INNER_SIDE**2)


def _weights(share: Cells, start: Cells, centres: Cells) -> tuple[Cells, Cells]:
    """(values [N, places, 16 frequencies] of the cosines at the centres of the cells of crops, their slopes)."""
    angles = np.pi * (start[:, None] + share[:, None] * centres)[:, :, None] * _FREQUENCIES
    slopes: Cells = np.sin(angles) * (-np.pi * _FREQUENCIES)
    return np.cos(angles), slopes


def _solve(pictures: Cells, derivatives: Cells, target: Cells) -> Cells:
    """Steps [N, 4] of start and share, down and across, that bring pictures nearest to normalised targets of any contrast."""
    columns = np.concatenate([pictures[:, None], derivatives], axis=1)
    columns -= columns.mean(axis=2, keepdims=True)
    products = columns @ columns.transpose(0, 2, 1)
    places = np.arange(products.shape[1])
    products[:, places, places] *= np.where(places > 0, 1 + _DAMPING, 1.0)
    products[:, places, places] += 1e-9
    solved = np.linalg.solve(products, columns @ target[:, :, None])[:, :, 0]
    steps: Cells = np.clip(solved[:, 1:] / np.maximum(solved[:, :1], 1e-9), -_LONGEST_STEP, _LONGEST_STEP)
    return steps


def normalise(values: Cells) -> Cells:
    """Rows of mean 0 and length 1; zeros for an even row."""
    return scale_to_unit(values - values.mean(axis=1, keepdims=True))


def scale_to_unit(values: Cells) -> Cells:
    """Rows of length 1; zeros for a row that is (nearly) zero."""
    lengths = np.sqrt(row_products(values, values))
    return values / np.where(lengths > 1e-9, lengths, np.inf)[:, None]


def row_products(one: Cells, other: Cells) -> Cells:
    """Inner product of each row."""
    products: Cells = np.einsum("ij,ij->i", one, other)
    return products
