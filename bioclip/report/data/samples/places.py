"""Counts of samples on an equal-area grid."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa

from bioclip.report.data.counting import IndexCounter
from bioclip.report.data.samples.sample_summary import MapCell, PlaceSummary

NUM_COLUMNS, NUM_ROWS = 144, 61


CELL_KM2 = 510_065_622 / (NUM_COLUMNS * NUM_ROWS)
"""All cells have the same area: columns are equal in longitude, rows in the sine of latitude."""


BANDS = (("north of the Arctic Circle", 66.56), ("northern mid-latitudes", 23.44), ("tropics", -23.44), ("southern mid-latitudes", -66.56),
         ("south of the Antarctic Circle", -90.0))  # fmt: skip
"""Names of bands of latitude with their southern edges in degrees."""


class PlaceCounter:
    """Counts samples by cell, and samples without usable coordinates by cause."""

    def __init__(self) -> None:
        self._cells, self._bands = IndexCounter(), IndexCounter()
        self._missing: Counter[str] = Counter()

    def add(self, samples: pa.Table) -> None:
        """Count rows with `latitude` and `longitude` in degrees."""
        latitude, longitude = (samples[name].to_numpy().astype(np.float64) for name in ("latitude", "longitude"))
        is_given = ~(np.isnan(latitude) | np.isnan(longitude))
        is_inside = is_given & (np.abs(latitude) <= 90) & (np.abs(longitude) <= 180)
        is_zero = is_inside & (latitude == 0) & (longitude == 0)
        is_placed = is_inside & ~is_zero
        not_placed = {"no coordinates": ~is_given, "outside the range of degrees": is_given & ~is_inside, "exactly 0° N, 0° E": is_zero}
        self._missing.update({why: int(found.sum()) for why, found in not_placed.items()})
        latitude, longitude = latitude[is_placed], longitude[is_placed]
        columns = np.minimum(((longitude + 180) / 360 * NUM_COLUMNS).astype(np.int64), NUM_COLUMNS - 1)
        rows = np.minimum(((1 - np.sin(np.radians(latitude))) / 2 * NUM_ROWS).astype(np.int64), NUM_ROWS - 1)
        self._cells.add(rows * NUM_COLUMNS + columns)
        southern_edges = np.array([edge for _, edge in BANDS])
        self._bands.add((latitude[:, None] < southern_edges).sum(axis=1))

    def summary(self) -> PlaceSummary:
        """What was counted."""
        counts = self._cells.of(NUM_COLUMNS * NUM_ROWS)
        cells = tuple(MapCell(place % NUM_COLUMNS, place // NUM_COLUMNS, int(counts[place])) for place in np.flatnonzero(counts).tolist())
        bands = tuple(zip((name for name, _ in BANDS), self._bands.of(len(BANDS)).tolist(), strict=True))
        return PlaceSummary(cells, {why: count for why, count in self._missing.items() if count}, bands)
