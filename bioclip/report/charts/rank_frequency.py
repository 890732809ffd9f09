"""Rank-frequency curves: images of each species, from the largest to the smallest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from bioclip.report.charts.axes import Scale, horizontal_axis, vertical_axis
from bioclip.report.charts.svg import element, path, svg
from bioclip.report.html.text import number

Sizes = Mapping[int, int]
"""Number of images -> number of species with that many images."""


_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 440.0, 300.0, 56.0, 254.0


_MIN_STEP_PX = 0.7


@dataclass(frozen=True)
class TailCurve:
    """One curve. `style` is `line` or `dashed`."""

    title: str
    sizes: Sizes
    style: str = "line"


def long_tail_chart(curves: Sequence[TailCurve]) -> Markup:
    """Images per species over the rank of the species, on log scales; all curves share the axes."""
    most = max(sum(curve.sizes.values()) for curve in curves)
    largest = max(max(curve.sizes) for curve in curves)
    across = Scale(1, max(10, most), _LEFT, _WIDTH - 24, is_log=True)
    up = Scale(0.8, max(10, largest * 1.1), _BOTTOM, 30, is_log=True)
    drawn = [element("path", d=path(_points(curve.sizes, across, up)), class_=curve.style) for curve in curves]
    description = "; ".join(
        f"{curve.title}: {number(sum(curve.sizes.values()))} species, from {number(max(curve.sizes))} images down to "
        f"{number(min(curve.sizes))}"
        for curve in curves
    )
    return svg(
        _WIDTH,
        _HEIGHT,
        f"Images per species by rank, logarithmic scales. {description}.",
        vertical_axis(up, _LEFT, _WIDTH - 24, lambda value: number(round(value)), "images per species (log scale)"),
        horizontal_axis(across, 30, _BOTTOM, lambda value: number(round(value)), "species by number of images, largest first (log scale)"),
        *drawn,
    )


def _points(sizes: Sizes, across: Scale, up: Scale) -> list[tuple[float, float]]:
    """Both ends of each run of equal sizes; points closer than a pixel to the previous one are skipped to keep the drawing small."""
    ends = []
    rank = 0
    for size in sorted(sizes, reverse=True):
        ends += [(across(rank + 1), up(size)), (across(rank + sizes[size]), up(size))]
        rank += sizes[size]
    kept = ends[:1]
    for point in ends[1:-1]:
        if abs(point[0] - kept[-1][0]) >= _MIN_STEP_PX or abs(point[1] - kept[-1][1]) >= _MIN_STEP_PX:
            kept.append(point)
    return [*kept, ends[-1]]
