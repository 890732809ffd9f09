"""An equal-area world map with a shaded cell for each square that has samples."""

from __future__ import annotations

import math
from functools import cache
from importlib.resources import files
from itertools import pairwise

import yaml
from markupsafe import Markup

from bioclip.report.charts.svg import element, label, segment, svg
from bioclip.report.data.samples.places import NUM_COLUMNS, NUM_ROWS
from bioclip.report.data.samples.sample_summary import MapCell, PlaceSummary
from bioclip.report.html.text import number

_CELL_PX = 5.0
_DARKEST = 5


_WIDTH = NUM_COLUMNS * _CELL_PX


_HEIGHT = _WIDTH * 2 / (2 * math.pi * math.cos(math.radians(30)) ** 2)
"""Behrmann's cylindrical equal-area projection (1910): true to shape at 30 degrees."""


def centre_of(cell: MapCell) -> str:
    """Latitude and longitude of a cell's centre, in whole degrees."""
    longitude = (cell.column + 0.5) / NUM_COLUMNS * 360 - 180
    latitude = math.degrees(math.asin(1 - 2 * (cell.row + 0.5) / NUM_ROWS))
    return f"{abs(latitude):.0f}° {'N' if latitude >= 0 else 'S'}, {abs(longitude):.0f}° {'E' if longitude >= 0 else 'W'}"


def map_chart(places: PlaceSummary, limits: list[int]) -> Markup:
    """Land, a graticule of 30 degrees, and one path per shade."""
    shades = [
        element("path", d=path, class_=f"shade shade-{shade_of(place, len(limits))}")
        for place, low in enumerate(limits)
        if (path := _cell_path(places, low, limits[place + 1] if place + 1 < len(limits) else None))
    ]
    stretch = f"scale({_CELL_PX:g} {_HEIGHT / NUM_ROWS:.4f})"
    description = f"Map of {number(places.num_placed)} samples with coordinates; the square with the most samples is at {_densest(places)}."
    sea = element("rect", x=0, y=0, width=_WIDTH, height=_HEIGHT, class_="sea")
    parts = [sea, land_outlines(), _graticule(), element("g", *shades, transform=stretch)]
    return svg(_WIDTH, _HEIGHT, description, *parts, class_="chart map")


def shade_of(place: int, num_shades: int) -> int:
    """The shade of a step, from 0 to 5; the highest step is always the darkest."""
    return _DARKEST - round((num_shades - 1 - place) * _DARKEST / max(num_shades - 1, 1))


def _densest(places: PlaceSummary) -> str:
    return centre_of(min(places.cells, key=lambda cell: (-cell.num_samples, cell.row, cell.column)))


def _cell_path(places: PlaceSummary, low: int, high: int | None) -> str:
    """Runs of adjacent cells as one rectangle each; `cells` are ordered by row and column."""
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
    """One path in tenths of a px, each point relative to the previous one."""
    text = files("bioclip.report.charts").joinpath("land.yaml").read_text(encoding="utf-8")
    rings = yaml.safe_load(text)["rings"]
    drawn = []
    for ring in rings:
        degrees = (tuple(int(value) / 10 for value in point.split(",")) for point in ring.split())
        points = [tuple(round(10 * value) for value in _project(*place)) for place in degrees]
        steps = [(x - a, y - b) for (a, b), (x, y) in pairwise(points)]
        drawn.append(f"M{points[0][0]},{points[0][1]}l" + " ".join(f"{x},{y}" for x, y in steps) + "z")
    return element("path", d="".join(drawn), transform="scale(.1)", class_="land")
