"""The second signal of near pairs: the correlation of 16 x 16 grey thumbnails, under the small changes that copies have.

A pair is confirmed when the Pearson correlation r of the two thumbnails reaches a threshold as they are, after one of them is
brightened and clipped, or after one of them is cropped, by up to 10 % around the middle and by up to 5 % at an edge or corner.
Thumbnails are cropped by resampling their discrete cosine series, which is exact for a picture without detail beyond 16 x 16. The
correlation without the cells that differ most allows for a local mark such as a watermark, that of the inner cells for a border. Changes
that also raise the correlation of different pictures have a penalty: 1 - r is multiplied by a factor. The constants are measured in
docs/concepts/near-duplicates.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import product

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bioclip.images.hashing import THUMBNAIL_BYTES, THUMBNAIL_SIDE

Thumbnails = npt.NDArray[np.uint8]
"""Grey thumbnails (N, THUMBNAIL_BYTES), row by row."""
_Cells = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_CROPS = (0.98, 0.96, 0.94, 0.92, 0.90)
"""Sides of the concentric crops, as shares of the side."""
_SHIFTED_CROPS, _SHIFTED_PENALTY = (0.98, 0.95), 1.25
"""Crops at the edges and corners."""
_GAINS = (1.15, 1.3, 1.5)
_NUM_TRIMMED = 13
"""Cells of 256 that the trimmed correlation leaves out."""
_TRIMMED_PENALTY = 8 / 3
"""Factor of 1 - r of a trimmed correlation r."""
_RIM_PENALTY = 1.25
_INNER = np.pad(np.ones((THUMBNAIL_SIDE - 2, THUMBNAIL_SIDE - 2), bool), 1).ravel()
"""Cells inside the outermost ring, into which a border around the picture bleeds."""
_HOPELESS = 0.6
"""Pairs whose inner cells correlate less as they are do not reach a threshold under any of the changes."""
_UNTRIMMED = 0.85
"""Least correlation of all cells at which the trimmed one is computed."""
_DECIMALS = 6
_BATCH_PAIRS = 1 << 13


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
    min_correlation: float,
    num_orientations: int = 1,
) -> BoolArray:
    """Which pairs (rows of `left`, rows of `right`) have a correlation of at least `min_correlation`.

    `num_orientations`: 1, 2 (also mirrored) or 8 (all orientations of `left`). Each pair is judged alone, and alike in both orders.
    """
    confirmed = np.zeros(len(left_rows), bool)
    for low in range(0, len(left_rows), _BATCH_PAIRS):
        chosen = slice(low, low + _BATCH_PAIRS)
        one, other = left[left_rows[chosen]].astype(np.float64), right[right_rows[chosen]].astype(np.float64)
        found = confirmed[chosen]
        for turned in _orientations(one, num_orientations):
            rest = np.flatnonzero(~found)
            found[rest] = _reach(turned[rest], other[rest], min_correlation)
    return confirmed


def _orientations(cells: _Cells, number: int) -> Iterator[_Cells]:
    """Thumbnails as they are, mirrored, and with 8 orientations turned by right angles too."""
    grid = cells.reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    for turns in range(4 if number > 2 else 1):
        for view in (grid, grid[:, :, ::-1])[: min(number, 2)]:
            yield np.rot90(view, turns, (1, 2)).reshape(len(cells), -1)


@dataclass(frozen=True)
class _Change:
    """A change of thumbnails (N, cells) and the factor of 1 - r after it; `is_central`: the trimmed correlation and that of the inner
    cells count too."""

    apply: Callable[[_Cells], _Cells]
    penalty: float = 1.0
    is_central: bool = False


def _reach(one: _Cells, other: _Cells, least: float) -> BoolArray:
    """Which rows reach a correlation of `least` under any of the changes of either side."""
    normal = _normalised(one), _normalised(other)
    found = _correlation(*normal) >= least
    inner = _normalised(one[:, _INNER]), _normalised(other[:, _INNER])
    hopeful = _correlation(*inner) >= min(_HOPELESS, least)
    for change in _changes():
        rest = np.flatnonzero(~found & hopeful)
        if not len(rest):
            break
        for cells, place in ((one, 1), (other, 0)):
            found[rest] |= _reach_changed(change.apply(cells[rest]), normal[place][rest], inner[place][rest], change, least)
    return found


def _reach_changed(changed: _Cells, normal: _Cells, inner: _Cells, change: _Change, least: float) -> BoolArray:
    """The same for changed thumbnails and the others normalised, with all cells and with the inner ones."""
    centred = _normalised(changed)
    values = _correlation(centred, normal)
    found = _penalised(values, change.penalty) >= least
    if change.is_central:
        rest = np.flatnonzero(~found)
        found[rest] = _penalised(_correlation(_normalised(changed[rest][:, _INNER]), inner[rest]), _RIM_PENALTY) >= least
        rest = np.flatnonzero(~found & (values >= min(_UNTRIMMED, least)))
        found[rest] = _penalised(_trimmed_correlation(centred[rest], normal[rest]), _TRIMMED_PENALTY) >= least
    return found


@cache
def _changes() -> tuple[_Change, ...]:
    """All changes, cheap ones first."""
    gains = [_Change(lambda cells, gain=gain: np.minimum(255.0, gain * cells)) for gain in _GAINS]  # type: ignore[misc]
    middle = [_Change(partial(_cropped, share=share, place=(0.5, 0.5)), is_central=True) for share in _CROPS]
    places = [place for place in product((0.0, 0.5, 1.0), (0.0, 0.5, 1.0)) if place != (0.5, 0.5)]
    shifted = [_Change(partial(_cropped, share=share, place=place), _SHIFTED_PENALTY) for share in _SHIFTED_CROPS for place in places]
    return (*gains, _Change(lambda cells: cells, is_central=True), *middle, *shifted)


def _cropped(cells: _Cells, share: float, place: tuple[float, float]) -> _Cells:
    """The part of `share` of the sides at `place`: (0, 0) is the top left corner, (0.5, 0.5) the middle."""
    rows, columns = (_crop_matrix(share, where) for where in place)
    cropped: _Cells = (rows @ cells.reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE) @ columns.T).reshape(len(cells), -1)
    return cropped


@cache
def _crop_matrix(share: float, place: float) -> _Cells:
    """Samples (16, 16) of the cosine series of 16 cells at the centres of 16 cells of a `share` of the side."""
    centres, order = (np.arange(THUMBNAIL_SIDE) + 0.5) / THUMBNAIL_SIDE, np.arange(THUMBNAIL_SIDE)
    series = np.cos(np.pi * np.outer(centres, order))
    matrix: _Cells = np.cos(np.pi * np.outer((1 - share) * place + share * centres, order)) @ np.linalg.inv(series)
    return matrix


def _normalised(cells: _Cells) -> _Cells:
    centred = cells - cells.mean(axis=1, keepdims=True)
    lengths = np.sqrt(np.einsum("ij,ij->i", centred, centred))
    normalised: _Cells = centred / np.where(lengths > 0, lengths, 1.0)[:, None]
    return normalised


def _correlation(one: _Cells, other: _Cells) -> _Cells:
    """Pearson correlation of each row of normalised cells, rounded so that the order of summation has no effect; 0 for an even one."""
    products: _Cells = np.einsum("ij,ij->i", one, other)
    return np.round(products, _DECIMALS)


def _trimmed_correlation(one: _Cells, other: _Cells) -> _Cells:
    """Correlation of normalised cells without those that differ most."""
    apart = np.abs(one - other)
    place = THUMBNAIL_BYTES - _NUM_TRIMMED - 1
    stays = apart <= np.partition(apart, place, axis=1)[:, place : place + 1]
    number = stays.sum(axis=1, keepdims=True)
    one, other = (np.where(stays, cells - (cells * stays).sum(axis=1, keepdims=True) / number, 0.0) for cells in (one, other))
    products = np.einsum("ij,ij->i", one, one) * np.einsum("ij,ij->i", other, other)
    values = np.einsum("ij,ij->i", one, other) / np.sqrt(np.where(products > 0, products, 1.0))
    rounded: _Cells = np.asarray(values, np.float64).round(_DECIMALS)
    return rounded


def _penalised(correlations: _Cells, factor: float) -> _Cells:
    penalised = 1.0 - (1.0 - correlations) * factor
    return np.asarray(penalised.round(_DECIMALS), np.float64)
