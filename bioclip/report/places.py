"""Where samples were taken: counted on an equal-area grid, so that a map of any number of images is small and gives no place away."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache
from importlib.resources import files
from itertools import pairwise

import numpy as np
import pyarrow as pa
import yaml

from bioclip.report.axes import label, segment, svg
from bioclip.report.counting import Tally
from bioclip.report.data import ReportData
from bioclip.report.markup import Markup, element, figure, join, number, percent, table
from bioclip.report.sample_data import MapCell, Places
from bioclip.report.section import Section, note

NUM_COLUMNS, NUM_ROWS = 144, 61
CELL_KM2 = 510_065_622 / (NUM_COLUMNS * NUM_ROWS)
"""All cells are of the same area: columns are equal in longitude, rows in the sine of latitude."""
BANDS = (("north of the Arctic Circle", 66.56), ("northern mid-latitudes", 23.44), ("tropics", -23.44), ("southern mid-latitudes", -66.56),
         ("south of the Antarctic Circle", -90.0))  # fmt: skip
"""Names of bands of latitude with their southern edges in degrees."""
MAX_LISTED = 10
_CELL_PX = 5.0
_WIDTH = NUM_COLUMNS * _CELL_PX
_HEIGHT = _WIDTH * 2 / (2 * math.pi * math.cos(math.radians(30)) ** 2)
"""Behrmann's cylindrical equal-area projection (1910): true to shape at 30 degrees."""


class PlaceTally:
    """Samples by cell, and those without usable coordinates by why."""

    def __init__(self) -> None:
        self._cells, self._bands = Tally(), Tally()
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

    def summary(self) -> Places:
        """What was counted."""
        counts = self._cells.of(NUM_COLUMNS * NUM_ROWS)
        cells = tuple(MapCell(place % NUM_COLUMNS, place // NUM_COLUMNS, int(counts[place])) for place in np.flatnonzero(counts).tolist())
        bands = tuple(zip((name for name, _ in BANDS), self._bands.of(len(BANDS)).tolist(), strict=True))
        return Places(cells, {why: count for why, count in self._missing.items() if count}, bands)


def places_section(data: ReportData) -> Section:
    """The map with the numbers behind it."""
    places, title = data.samples.places, "Where they were taken"
    if not data.samples.num_samples:
        return Section("places", title, None, "This release holds no samples, so there is nothing to place.")
    if not places.cells:
        return Section("places", title, None, "No sample of this release has usable coordinates.")
    placed = percent(places.num_placed, data.samples.num_samples)
    summary = note(
        f"{number(places.num_placed)} of {number(data.samples.num_samples)} samples ({placed}) have coordinates, in "
        f"{number(len(places.cells))} of the map's {number(NUM_COLUMNS * NUM_ROWS)} squares. "
        "Where few were taken says little about what lives there."
    )
    limits = steps_of(max(cell.num_samples for cell in places.cells))
    caption = join(
        [
            _legend(limits),
            f"Samples in squares of {round(CELL_KM2, -3):,.0f} km² each, darker for more. Equal-area projection (Behrmann), lines every "
            "30°. Land from Natural Earth; no borders are drawn.",
        ]
    )
    drawing = figure(caption, map_chart(places, limits), class_="map")
    return Section("places", title, join([summary, drawing, element("div", *_tables(data), class_="columns")]), "")


def _tables(data: ReportData) -> tuple[Markup, Markup]:
    places, num_samples = data.samples.places, data.samples.num_samples
    rows = [(name, number(count), percent(count, num_samples)) for name, count in [*places.bands, *places.missing.items()]]
    bands = table("All samples by latitude", ("Band", "Samples", "Share"), rows, numeric=(1, 2))
    densest = sorted(places.cells, key=lambda cell: (-cell.num_samples, cell.row, cell.column))[:MAX_LISTED]
    listed = [(centre_of(cell), number(cell.num_samples), percent(cell.num_samples, num_samples)) for cell in densest]
    return bands, table("Squares with the most samples, by their centre", ("Square", "Samples", "Share"), listed, numeric=(1, 2))


def centre_of(cell: MapCell) -> str:
    """Latitude and longitude of a cell's middle, to the degree."""
    longitude = (cell.column + 0.5) / NUM_COLUMNS * 360 - 180
    latitude = math.degrees(math.asin(1 - 2 * (cell.row + 0.5) / NUM_ROWS))
    return f"{abs(latitude):.0f}° {'N' if latitude >= 0 else 'S'}, {abs(longitude):.0f}° {'E' if longitude >= 0 else 'W'}"


def steps_of(largest: int) -> list[int]:
    """Lower limits of the shades, from 1: at most six that are 1, 2 and 5 times powers of ten, or those alone where counts go far."""
    fine = [factor * 10**decade for decade in range(2) for factor in (1, 2, 5)]
    if largest < 100:
        return [limit for limit in fine if limit <= largest]
    decades = math.floor(math.log10(largest)) + 1
    stride = math.ceil(decades / 6)
    return [10**decade for decade in range(0, decades, stride)]


def _legend(limits: list[int]) -> Markup:
    ends = [f"{number(low)}–{number(high - 1)}" if high - 1 > low else number(low) for low, high in pairwise(limits)]
    ends.append(f"{number(limits[-1])} and more")
    keys = [element("span", element("i", class_=f"shade shade-{place}"), text) for place, text in enumerate(ends)]
    return element("span", *keys, class_="legend")


def map_chart(places: Places, limits: list[int]) -> Markup:
    """Land, a graticule of 30 degrees, and one path a shade over all its cells."""
    shades = [
        element("path", d=path, class_=f"shade shade-{place}")
        for place, low in enumerate(limits)
        if (path := _cell_path(places, low, limits[place + 1] if place + 1 < len(limits) else None))
    ]
    stretch = f"scale({_CELL_PX:g} {_HEIGHT / NUM_ROWS:.4f})"
    said = f"Map of {number(places.num_placed)} samples with coordinates; the densest square is at {_densest(places)}."
    sea = element("rect", x=0, y=0, width=_WIDTH, height=_HEIGHT, class_="sea")
    parts = [sea, land_outlines(), _graticule(), element("g", *shades, transform=stretch)]
    return svg(_WIDTH, _HEIGHT, said, *parts, class_="chart map")


def _densest(places: Places) -> str:
    return centre_of(min(places.cells, key=lambda cell: (-cell.num_samples, cell.row, cell.column)))


def _cell_path(places: Places, low: int, high: int | None) -> str:
    """Runs of neighbouring cells as one rectangle each; `cells` are in order of row and column."""
    runs: list[list[int]] = []
    for cell in places.cells:
        if cell.num_samples < low or (high is not None and cell.num_samples >= high):
            continue
        if runs and runs[-1][1] == cell.row and sum(runs[-1][::2]) == cell.column:
            runs[-1][2] += 1
        else:
            runs.append([cell.column, cell.row, 1])
    return "".join(f"M{column},{row}h{length}v1h-{length}z" for column, row, length in runs)


def _project(longitude: float, latitude: float) -> tuple[float, float]:
    return (longitude + 180) / 360 * _WIDTH, (1 - math.sin(math.radians(latitude))) / 2 * _HEIGHT


def _graticule() -> Markup:
    lines = [segment(x, 0.0, x, _HEIGHT, "grid") for x in (_project(degrees, 0)[0] for degrees in range(-150, 180, 30))]
    for degrees in range(-60, 90, 30):
        y = _project(0, degrees)[1]
        lines.append(segment(0.0, y, _WIDTH, y, "equator" if degrees == 0 else "grid"))
        lines.append(label(4, y - 3, "0°" if degrees == 0 else f"{abs(degrees)}° {'N' if degrees > 0 else 'S'}"))
    return element("g", *lines)


@cache
def land_outlines() -> Markup:
    """One path in tenths of a px, each point relative to the one before."""
    text = files("bioclip.report").joinpath("land.yaml").read_text(encoding="utf-8")
    rings = yaml.safe_load(text)["rings"]
    drawn = []
    for ring in rings:
        degrees = (tuple(int(value) / 10 for value in point.split(",")) for point in ring.split())
        points = [tuple(round(10 * value) for value in _project(*place)) for place in degrees]
        steps = [(x - a, y - b) for (a, b), (x, y) in pairwise(points)]
        drawn.append(f"M{points[0][0]},{points[0][1]}l" + " ".join(f"{x},{y}" for x, y in steps) + "z")
    return element("path", d="".join(drawn), transform="scale(.1)", class_="land")
