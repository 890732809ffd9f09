"""Where samples were collected: counts on an equal-area grid, so that the map stays small and reveals no exact location."""

from __future__ import annotations

import math
from itertools import pairwise

from markupsafe import Markup

from bioclip.report.charts.world_map import centre_of, map_chart, shade_of
from bioclip.report.data.report_data import ReportData
from bioclip.report.data.samples.places import CELL_KM2, NUM_COLUMNS, NUM_ROWS
from bioclip.report.html.components import columns, figure, join, note, table
from bioclip.report.html.section import Section
from bioclip.report.html.text import number, percent

MAX_LISTED = 10


def places_section(data: ReportData) -> Section:
    """The map with the numbers behind it."""
    places, title = data.samples.places, "Collecting places"
    if not data.samples.num_samples:
        return Section("places", title, None, "This release holds no samples, so there is no map.")
    if not places.cells:
        return Section("places", title, None, "No sample of this release has usable coordinates.")
    placed = percent(places.num_placed, data.samples.num_samples)
    summary = note(
        f"{number(places.num_placed)} of {number(data.samples.num_samples)} samples ({placed}) have coordinates, in "
        f"{number(len(places.cells))} of the map's {number(NUM_COLUMNS * NUM_ROWS)} squares. "
        "Coordinates are as the providers state them, their uncertainty is not drawn. A square with few samples says little about which "
        "species live there."
    )
    limits = steps_of(max(cell.num_samples for cell in places.cells))
    caption = (
        f"Samples in squares of {round(CELL_KM2, -3):,.0f} km² each; darker squares hold more. Equal-area projection (Behrmann), "
        "lines every 30°. Land outlines from Natural Earth, without borders."
    )
    drawing = figure(caption, map_chart(places, limits), _legend(limits), "map")
    return Section("places", title, join([summary, drawing, columns(*_tables(data))]))


def _tables(data: ReportData) -> tuple[Markup, Markup]:
    places, num_samples = data.samples.places, data.samples.num_samples
    rows = [(name, number(count), percent(count, num_samples)) for name, count in [*places.bands, *places.missing.items()]]
    bands = table("All samples by latitude", ("Band", "Samples", "Share"), rows, numeric=(1, 2))
    densest = sorted(places.cells, key=lambda cell: (-cell.num_samples, cell.row, cell.column))[:MAX_LISTED]
    listed = [(centre_of(cell), number(cell.num_samples), percent(cell.num_samples, num_samples)) for cell in densest]
    return bands, table("Squares with the most samples, by their centre", ("Square", "Samples", "Share"), listed, numeric=(1, 2))


def steps_of(largest: int) -> list[int]:
    """Lower limits of the shades, from 1: at most six; 1, 2 and 5 times powers of ten below 100, else powers of ten."""
    fine = [factor * 10**decade for decade in range(2) for factor in (1, 2, 5)]
    if largest < 100:
        return [limit for limit in fine if limit <= largest]
    decades = math.floor(math.log10(largest)) + 1
    stride = math.ceil(decades / 6)
    return [10**decade for decade in range(0, decades, stride)]


def _legend(limits: list[int]) -> list[tuple[str, str]]:
    ends = [f"{number(low)}–{number(high - 1)}" if high - 1 > low else number(low) for low, high in pairwise(limits)]
    ends.append(f"{number(limits[-1])} and more")
    return [(f"shade shade-{shade_of(place, len(limits))}", text) for place, text in enumerate(ends)]
