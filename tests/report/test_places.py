"""The map: correct positions, equal areas, and a size independent of the number of images."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bioclip.report.charts.world_map import centre_of, land_outlines, map_chart, shade_of
from bioclip.report.data.samples.places import CELL_KM2, NUM_COLUMNS, NUM_ROWS, PlaceCounter
from bioclip.report.data.samples.sample_summary import MapCell, PlaceSummary
from bioclip.report.data.workspace_report import gather_report
from bioclip.report.sections.collecting_places import places_section, steps_of

from .workspace import VERSION, Workspace, fill


def counted_places(places: list[tuple[float | None, float | None]]) -> PlaceSummary:
    counter = PlaceCounter()
    latitude, longitude = (pa.array([place[side] for place in places], pa.float64()) for side in (0, 1))
    counter.add(pa.table({"latitude": latitude, "longitude": longitude}))
    return counter.summary()


def test_what_has_no_usable_coordinates_is_counted_by_why() -> None:
    places = counted_places([(None, 3.0), (5.0, None), (math.nan, 1.0), (91.0, 0.0), (10.0, 200.0), (0.0, 0.0), (0.0, 1e-6), (52.0, 13.0)])
    assert places.missing == {"no coordinates": 3, "outside the range of degrees": 2, "exactly 0° N, 0° E": 1}
    assert places.num_placed == 2


@given(st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), max_size=40))
def test_every_place_on_earth_falls_into_a_cell_whose_middle_is_near(found: list[tuple[float, float]]) -> None:
    found = [place for place in found if place != (0, 0)]
    places = counted_places(list(found))
    assert places.num_placed == len(found) == sum(count for _, count in places.bands)
    assert all(0 <= cell.column < NUM_COLUMNS and 0 <= cell.row < NUM_ROWS for cell in places.cells)
    for latitude, longitude in found:
        (cell,) = counted_places([(latitude, longitude)]).cells
        assert abs((cell.column + 0.5) / NUM_COLUMNS * 360 - 180 - longitude) <= 180 / NUM_COLUMNS + 1e-9
        assert abs(1 - 2 * (cell.row + 0.5) / NUM_ROWS - math.sin(math.radians(latitude))) <= 1 / NUM_ROWS + 1e-9


def test_known_places_are_where_they_belong() -> None:
    berlin, sydney, quito = (counted_places([place]).cells[0] for place in ((52.5, 13.4), (-33.9, 151.2), (-0.2, -78.5)))
    assert [centre_of(cell) for cell in (berlin, sydney, quito)] == ["52° N, 14° E", "34° S, 151° E", "0° N, 79° W"]
    bands = counted_places([(80, 1), (52.5, 13.4), (-0.2, -78.5), (-33.9, 151.2), (-90, 0)]).bands
    assert [count for _, count in bands] == [1, 1, 1, 1, 1]


def test_points_spread_evenly_over_the_sphere_fill_cells_evenly() -> None:
    random = np.random.default_rng(3)
    latitude = np.degrees(np.arcsin(random.uniform(-1, 1, 400_000)))
    longitude = random.uniform(-180, 180, 400_000)
    counter = PlaceCounter()
    counter.add(pa.table({"latitude": latitude, "longitude": longitude}))
    counts = np.array([cell.num_samples for cell in counter.summary().cells])
    assert len(counts) == NUM_COLUMNS * NUM_ROWS
    assert counts.mean() == pytest.approx(400_000 * CELL_KM2 / 510_065_622)
    assert counts.var() / counts.mean() == pytest.approx(1, abs=0.1), "a Poisson spread; cells of unequal area would differ far more"


def test_a_full_map_stays_small_and_a_million_points_make_it_no_larger() -> None:
    random = np.random.default_rng(5)
    cells = tuple(
        MapCell(column, row, int(count))
        for (row, column), count in np.ndenumerate((10 ** random.uniform(0, 6, (NUM_ROWS, NUM_COLUMNS))).astype(int))
    )
    drawing = map_chart(PlaceSummary(cells), steps_of(10**6))
    assert len(drawing) < 220_000
    assert "nan" not in drawing.lower()


def test_runs_of_cells_are_drawn_as_the_area_they_cover() -> None:
    cells = (MapCell(3, 0, 5), MapCell(4, 0, 6), MapCell(5, 0, 70), MapCell(143, 1, 5), MapCell(0, 2, 5))
    drawing = map_chart(PlaceSummary(cells), [1, 10])
    paths = re.findall(r'<path d="([^"]+)" class="shade', drawing)
    assert paths == ["M3,0h2v1h-2zM143,1h1v1h-1zM0,2h1v1h-1z", "M5,0h1v1h-1z"]


@pytest.mark.parametrize(
    ("largest", "limits"),
    [(1, [1]), (7, [1, 2, 5]), (99, [1, 2, 5, 10, 20, 50]), (100, [1, 10, 100]), (10**8, [1, 100, 10**4, 10**6, 10**8])],
)
def test_shades_begin_at_round_numbers_and_are_few(largest: int, limits: list[int]) -> None:
    assert steps_of(largest) == limits


def test_land_is_where_land_is() -> None:
    moves = re.findall(r"M(-?\d+),(-?\d+)l([^z]*)z", land_outlines())
    assert len(moves) > 100
    rings = []
    for x, y, steps in moves:
        ring = [(int(x), int(y))]
        for step in steps.split():
            dx, dy = map(int, step.split(","))
            ring.append((ring[-1][0] + dx, ring[-1][1] + dy))
        rings.append(ring)

    def is_land(latitude: float, longitude: float) -> bool:
        x, y = (longitude + 180) * 20, (1 - math.sin(math.radians(latitude))) / 2 * 7200 * 2 / (2 * math.pi * 0.75)
        crossings = 0
        for ring in rings:
            for (a, b), (c, d) in zip(ring, [*ring[1:], ring[0]], strict=True):
                crossings += (b > y) != (d > y) and x < a + (y - b) / (d - b) * (c - a)
        return crossings % 2 == 1

    assert all(is_land(*place) for place in [(52.5, 13.4), (-25, 134), (0, 25), (40, -100), (-10, -55), (60, 100), (-80, 60)])
    assert not any(is_land(*place) for place in [(0, -30), (30, -150), (-40, 80), (42.5, 51), (-60, -170)])


def test_the_page_says_how_many_samples_the_map_leaves_out(full_page: str, full_workspace: Workspace) -> None:
    num_samples = sum(bool(row["split"]) for row in full_workspace.samples)
    assert f"3 of {num_samples} samples (" in full_page
    assert "in 2 of the map&#39;s 8,784 squares" in full_page
    section = full_page.split('<section id="places"')[1].split("</section>")[0]
    rows = dict(re.findall(r'<th scope="row">([^<]+)</th><td class="number">([\d,]+)<', section))
    assert (rows["outside the range of degrees"], rows["exactly 0° N, 0° E"]) == ("1", "1")
    assert int(rows["no coordinates"]) == num_samples - 5
    assert rows["52° N, 6° E"] == "2"


def test_without_coordinates_the_map_says_so(new_workspace: Callable[[], Workspace]) -> None:
    data = gather_report(fill(new_workspace(), {"fungi": 24}).write(), VERSION)
    bare = replace(data, samples=replace(data.samples, places=PlaceSummary()))
    assert places_section(bare).absent == "No sample of this release has usable coordinates."
    assert places_section(bare).body is None


def test_the_square_with_the_most_samples_has_the_darkest_shade() -> None:
    assert [shade_of(place, 3) for place in range(3)] == [0, 3, 5]
    assert [shade_of(place, 6) for place in range(6)] == [0, 1, 2, 3, 4, 5]
    assert shade_of(0, 1) == 5
