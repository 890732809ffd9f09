"""Charts of the answers of one model: confusions, reliability, risk over coverage, and a map of embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from bioclip.report.charts.axes import Scale, horizontal_axis, vertical_axis
from bioclip.report.charts.svg import element, join, label, path, segment, svg
from bioclip.report.data.answer_counts import Answers, Bin, Confusion
from bioclip.report.html.text import count_of, number, percent, shorten

_WIDTH, _LEFT, _TOP, _BOTTOM = 440.0, 52.0, 30.0, 264.0
_CELL, _NAMES, _NAME_CHARS = 22.0, 128.0, 16
NUM_HUES = 6
MapPoint = tuple[float, float, str]
"""Place on two axes, and the group of an image."""


def confusion_chart(confusion: Confusion) -> Markup:
    """True groups as rows, answered groups as columns in the same order; the shade is the share of the row, the number its images. Others
    answered as others are right or wrong and have no colour."""
    names, counts = confusion.names, confusion.counts
    size = len(names) * _CELL
    top = 136.0  # names are larger on a narrow page
    drawn = []
    for place, name in enumerate(names):
        middle = place * _CELL + _CELL / 2
        drawn.append(label(_NAMES - 8, top + middle + 4, shorten(name, _NAME_CHARS), "end"))
        turned = f"rotate(-60 {_NAMES + middle:.1f} {top - 8:.1f})"
        drawn.append(element("text", shorten(name, _NAME_CHARS), x=_NAMES + middle, y=top - 8, transform=turned))
    for row, column in zip(*np.nonzero(counts), strict=True):
        share = counts[row, column] / counts[row].sum()
        x, y = _NAMES + column * _CELL, top + row * _CELL
        title = f"{names[row]} answered as {names[column]}: {count_of(int(counts[row, column]), 'image')} ({percent(float(share))})"
        kind = "mixed" if row == column == len(names) - 1 else "right" if row == column else "wrong"
        shade = f"{kind} tint-{min(4, int(share * 5))}"
        drawn.append(element("rect", element("title", title), x=x + 1, y=y + 1, width=_CELL - 2, height=_CELL - 2, class_=shade))
        drawn.append(label(x + _CELL / 2, y + _CELL / 2 + 4, _brief(int(counts[row, column])), "middle", "strong"))
    right = int(np.trace(counts[:-1, :-1]))
    described = f"Confusions of {confusion.rank}: {number(right)} of {count_of(int(counts.sum()), 'image')} on the diagonal of those named."
    return svg(_NAMES + size + 60, top + size + 8, described, *drawn)


def _brief(count: int) -> str:
    return str(count) if count < 1000 else f"{count / 1000:.0f}k"


def reliability_chart(bins: Sequence[Bin]) -> Markup:
    """Accuracy with its interval over the mean confidence of each bin, and the line of perfect calibration."""
    across, up = Scale(0, 1, _LEFT, _WIDTH - 24), Scale(0, 1, _BOTTOM, _TOP)
    drawn = [segment(across(0), up(0), across(1), up(1), "dashed")]
    for one in bins:
        x = across(one.confidence)
        interval = f"95 % interval {percent(one.low)} to {percent(one.high)}"
        title = f"confidence {percent(one.confidence)}: {percent(one.accuracy)} right, {interval}, {count_of(one.num_images, 'image')}"
        drawn.append(segment(x, up(one.low), x, up(one.high), "whisker"))
        drawn.append(element("circle", element("title", title), cx=x, cy=up(one.accuracy), r=4.5, class_="dot"))
    described = "; ".join(f"{percent(one.confidence)} confident, {percent(one.accuracy)} right" for one in bins)
    return svg(
        _WIDTH,
        _BOTTOM + 44,
        f"Accuracy by confidence: {described}.",
        vertical_axis(up, _LEFT, _WIDTH - 24, _whole_percent, "right answers"),
        horizontal_axis(across, _TOP, _BOTTOM, _whole_percent, "probability of the first answer"),
        *drawn,
    )


def risk_chart(answers: Answers) -> Markup:
    """The share of wrong answers over the share of images answered, the most confident first."""
    curve = answers.risk_curve()
    highest = min(1.0, max(0.02, 1.1 * max(risk for _, risk in curve)))
    across, up = Scale(0, 1, _LEFT, _WIDTH - 24), Scale(0, highest, _BOTTOM, _TOP)
    total = curve[-1][1]
    half = min(curve, key=lambda point: abs(point[0] - 0.5))[1]
    return svg(
        _WIDTH,
        _BOTTOM + 44,
        f"Wrong answers: {percent(half)} at half of the images, {percent(total)} at all.",
        vertical_axis(up, _LEFT, _WIDTH - 24, _whole_percent if highest > 0.1 else percent, "wrong answers among those given"),
        horizontal_axis(across, _TOP, _BOTTOM, _whole_percent, "images answered, most confident first"),
        segment(across(0), up(total), across(1), up(total), "dashed"),
        element("path", d=path([(across(share), up(risk)) for share, risk in curve]), class_="line"),
    )


def map_chart(points: Sequence[MapPoint], groups: Mapping[str, int]) -> Markup:
    """Images on two axes, in the colour of their group; `groups` numbers those with a colour of their own from 0."""
    width, height = _WIDTH, 300.0
    across, up = _spread([x for x, _, _ in points], 10, width - 10), _spread([y for _, y, _ in points], height - 10, 10)
    shown = sorted(points, key=lambda point: point[2] in groups)
    dots = [
        element(
            "circle", element("title", group), cx=across(x), cy=up(y), r=3, class_=f"hue-{groups[group]}" if group in groups else "rest"
        )
        for x, y, group in shown
    ]
    frame = element("rect", x=0.5, y=0.5, width=width - 1, height=height - 1, class_="frame")
    return svg(
        width, height, f"{count_of(len(points), 'image')} on the first two principal components of their features.", frame, join(dots)
    )


def _spread(values: Sequence[float], start: float, end: float) -> Scale:
    low = min(values)
    return Scale(low, max(*values, low + 1e-9), start, end)


def _whole_percent(value: float) -> str:
    return percent(value, digits=0)
