"""Where samples were taken: counted on an equal-area grid, so that a map of any number of images is small and gives no place away."""

from __future__ import annotations

import math
from itertools import pairwise

from bioclip.report.charts.world_map import centre_of, map_chart
from bioclip.report.data.places import CELL_KM2, NUM_COLUMNS, NUM_ROWS
from bioclip.report.data.report_data import ReportData
from bioclip.report.html.markup import Markup, element, figure, join, number, percent, table
from bioclip.report.sections.section import Section, note

MAX_LISTED = 10


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
