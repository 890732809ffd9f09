"""The report's charts as SVG: pure functions of the values they show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bioclip.report.axes import Scale, horizontal_axis, label, path, segment, svg, vertical_axis
from bioclip.report.markup import Markup, element, join, number, percent, shorten

_WIDTH = 520.0
"""Narrow, so that the text stays legible where the page is."""


@dataclass(frozen=True)
class FunnelStep:
    """`kept` of `read` went on."""

    title: str
    kept: int
    read: int


def funnel_chart(steps: Sequence[FunnelStep]) -> Markup:
    """One bar a step, all to the scale of the largest; what was dropped at the step is hatched at the bar's end."""
    width, left, row_height = _WIDTH, 122.0, 42.0
    scale = Scale(0, max([1, *(step.read for step in steps)]), left, width - 104)
    rows = []
    for index, step in enumerate(steps):
        top = index * row_height + 6
        kept_px, read_px = scale(step.kept), scale(step.read)
        rows.append(label(left - 12, top + 19, step.title, "end", "strong"))
        rows.append(element("rect", x=left, y=top, width=kept_px - left, height=28.0, rx=2, class_="bar"))
        if step.read > step.kept:
            lost = element("title", f"{number(step.read - step.kept)} dropped")
            rows.append(element("rect", lost, x=kept_px, y=top, width=read_px - kept_px, height=28.0, class_="lost"))
        rows.append(label(read_px + 8, top + 12, number(step.kept), class_="strong"))
        if step.read > step.kept:
            rows.append(
                label(
                    read_px + 8, top + 26, f"−{number(step.read - step.kept)} ({percent(step.read - step.kept, step.read)})", class_="loss"
                )
            )
    said = "; ".join(f"{step.title}: {step.kept} of {step.read}" for step in steps)
    return svg(width, len(steps) * row_height, f"From provider rows to samples. {said}.", _hatch(), *rows)


def _hatch() -> Markup:
    stripe = element("path", d="M0,6L6,0", class_="stripe")
    return element("defs", element("pattern", stripe, id="hatch", width=6, height=6, patternUnits="userSpaceOnUse"))


def long_tail_chart(species_sizes: Mapping[int, int]) -> Markup:
    """Images per species on a log scale, species from the most to the least photographed. `species_sizes`: images -> species."""
    width, height, left, bottom = _WIDTH, 250.0, 52.0, 204.0
    num_species, largest = sum(species_sizes.values()), max(species_sizes)
    across = Scale(0, num_species, left, width - 30, is_whole=True)
    up = Scale(0.8, max(10, largest * 1.1), bottom, 30, is_log=True)
    points: list[tuple[float, float]] = []
    rank = 0
    for size in sorted(species_sizes, reverse=True):
        points += [(across(rank), up(size)), (across(rank + species_sizes[size]), up(size))]
        rank += species_sizes[size]
    area = path([(left, bottom), *points, (points[-1][0], bottom)]) + "Z"
    said = f"Images per species, from {largest} down to {min(species_sizes)}, over {num_species} species; logarithmic scale."
    return svg(
        width,
        height,
        said,
        vertical_axis(up, left, width - 30, lambda value: number(round(value)), "images per species (log scale)"),
        horizontal_axis(across, bottom, bottom, lambda value: number(round(value)), "species, most photographed first"),
        element("path", d=area, class_="area"),
        element("path", d=path(points), class_="line"),
    )


@dataclass(frozen=True)
class Series:
    """A named curve: (step, value) in order of the step."""

    title: str
    points: tuple[tuple[int, float], ...]


def curves_chart(panels: Sequence[Series]) -> Markup:
    """One panel a series, one above the other over the same steps."""
    width, left, panel_height = _WIDTH, 62.0, 160.0
    steps = [step for panel in panels for step, _ in panel.points]
    across = Scale(min(steps), max(max(steps), min(steps) + 1), left, width - 30, is_whole=True)
    drawn = []
    for index, panel in enumerate(panels):
        bottom = (index + 1) * panel_height
        values = [value for _, value in panel.points if math.isfinite(value)]
        low, high = _padded(min(values), max(values))
        up = Scale(low, high, bottom, bottom - panel_height + 44)
        drawn.append(vertical_axis(up, left, width - 30, lambda value: f"{value:.4g}", panel.title))
        curve = [(across(step), up(value)) for step, value in panel.points if math.isfinite(value)]
        drawn.append(element("path", d=path(curve), class_="line"))
        if len(curve) == 1:
            drawn.append(element("circle", cx=curve[0][0], cy=curve[0][1], r=3.5, class_="dot"))
    end = len(panels) * panel_height
    axis = horizontal_axis(across, end, end, lambda value: number(round(value)), "optimizer step")
    said = "; ".join(f"{panel.title} from {panel.points[0][1]:.4g} to {panel.points[-1][1]:.4g}" for panel in panels)
    return svg(width, end + 44, f"Training curve over steps {min(steps)} to {max(steps)}: {said}.", axis, *drawn)


def _padded(low: float, high: float) -> tuple[float, float]:
    low = 0.0 if 0 <= low < high / 2 else low
    return (low, high) if high > low else (low - abs(low) / 2 - 1e-9, high + abs(high) / 2 + 1e-9)


@dataclass(frozen=True)
class Dot:
    """A score with its interval and chance level, all shares of 1; None where there is none."""

    title: str
    value: float
    low: float | None
    high: float | None
    chance: float | None


def dots_chart(title: str, dots: Sequence[Dot], axis_title: str) -> Markup:
    """One row a score: a dot with a whisker over its interval, and a diamond at the chance level, on one axis in percent from 0."""
    width, left, right, row_height = 480.0, 112.0, 70.0, 30.0
    bottom = len(dots) * row_height + 8
    highest = max(max(dot.value, dot.high or 0, dot.chance or 0) for dot in dots)
    across = Scale(0, min(1.0, max(highest * 1.08, 0.02)), left, width - right)
    rows = []
    for index, dot in enumerate(dots):
        middle = index * row_height + 22
        x = across(dot.value)
        rows.append(label(left - 12, middle + 4, shorten(dot.title, 16), "end", "strong"))
        if dot.low is not None and dot.high is not None:
            rows += [segment(across(dot.low), middle, across(dot.high), middle, "whisker")]
            rows += [segment(across(end), middle - 5, across(end), middle + 5, "whisker") for end in (dot.low, dot.high)]
        if dot.chance is not None:
            rows.append(_diamond(across(dot.chance), middle, f"chance {percent(dot.chance, digits=2)}"))
        rows.append(element("circle", element("title", _described(dot)), cx=x, cy=float(middle), r=5, class_="dot"))
        rows.append(label(width - 6, middle + 4, percent(dot.value), "end", "strong"))
    digits = 0 if across.high >= 0.05 else 1
    axis = horizontal_axis(across, 4, bottom, lambda value: percent(value, digits=digits), axis_title, 4)
    said = "; ".join(f"{dot.title}: {_described(dot)}" for dot in dots)
    return svg(width, bottom + 44, f"{title}. {said}.", axis, join(rows))


def _described(dot: Dot) -> str:
    interval = f", 95 % interval {percent(dot.low)} to {percent(dot.high)}" if dot.low is not None and dot.high is not None else ""
    chance = f", chance {percent(dot.chance, digits=2)}" if dot.chance is not None else ""
    return f"{percent(dot.value)}{interval}{chance}"


def _diamond(x: float, y: float, title: str) -> Markup:
    corners = f"M{x:.1f},{y - 6:.1f}L{x + 5:.1f},{y:.1f}L{x:.1f},{y + 6:.1f}L{x - 5:.1f},{y:.1f}Z"
    return element("path", element("title", title), d=corners, class_="chance")
