"""Line charts, and charts of scores with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from bioclip.report.charts.axes import Scale, horizontal_axis, vertical_axis
from bioclip.report.charts.svg import element, join, label, path, segment, svg
from bioclip.report.html.text import number, percent, shorten

_WIDTH = 460.0
"""Narrow, so that the text stays legible on a narrow page."""


@dataclass(frozen=True)
class Curve:
    """A named curve: (step, value) in order of the step."""

    title: str
    points: tuple[tuple[int, float], ...]


def curves_chart(panels: Sequence[Curve]) -> Markup:
    """One panel per curve, stacked over the same steps."""
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
    description = "; ".join(f"{panel.title} from {panel.points[0][1]:.4g} to {panel.points[-1][1]:.4g}" for panel in panels)
    return svg(width, end + 44, f"Training curve over steps {min(steps)} to {max(steps)}: {description}.", axis, *drawn)


def _padded(low: float, high: float) -> tuple[float, float]:
    low = 0.0 if 0 <= low < high / 2 else low
    return (low, high) if high > low else (low - abs(low) / 2 - 1e-9, high + abs(high) / 2 + 1e-9)


@dataclass(frozen=True)
class ScorePoint:
    """A score with its interval and chance level, as fractions of 1; None if not given."""

    title: str
    value: float
    low: float | None
    high: float | None
    chance: float | None


def dots_chart(title: str, dots: Sequence[ScorePoint], axis_title: str) -> Markup:
    """One row per score: a dot with a whisker over its interval, and a diamond at the chance level, on one axis in percent from 0."""
    width, left, right, row_height = 440.0, 144.0, 70.0, 30.0
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
    description = "; ".join(f"{dot.title}: {_described(dot)}" for dot in dots)
    return svg(width, bottom + 44, f"{title}. {description}.", axis, join(rows))


def _described(dot: ScorePoint) -> str:
    interval = f", 95 % interval {percent(dot.low)} to {percent(dot.high)}" if dot.low is not None and dot.high is not None else ""
    chance = f", chance {percent(dot.chance, digits=2)}" if dot.chance is not None else ""
    return f"{percent(dot.value)}{interval}{chance}"


def _diamond(x: float, y: float, title: str) -> Markup:
    corners = f"M{x:.1f},{y - 6:.1f}L{x + 5:.1f},{y:.1f}L{x:.1f},{y + 6:.1f}L{x - 5:.1f},{y:.1f}Z"
    return element("path", element("title", title), d=corners, class_="chance")
