"""Histogram of the confidence of decisions on names."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from bioclip.report.charts.axes import Scale, horizontal_axis, vertical_axis
from bioclip.report.charts.svg import element, svg
from bioclip.report.data.name_decisions.decision_summary import NameCounts
from bioclip.report.html.text import number

STEP = 5
_WIDTH, _LEFT, _TOP, _BOTTOM = 440.0, 52.0, 30.0, 204.0


def bin_confidences(confidences: Mapping[int, NameCounts]) -> list[NameCounts]:
    """Lineages and records in steps of five percent; the last step includes 100."""
    bins = [[0, 0] for _ in range(100 // STEP)]
    for confidence, weight in confidences.items():
        place = bins[min(max(confidence, 0) // STEP, len(bins) - 1)]
        place[0] += weight.num_lineages
        place[1] += weight.num_records
    return [NameCounts(*place) for place in bins]


def confidence_chart(confidences: Mapping[int, NameCounts]) -> Markup:
    """Bars on a log scale, so that a few doubtful names are visible next to many certain ones."""
    bins = bin_confidences(confidences)
    highest = max(weight.num_lineages for weight in bins)
    up = Scale(0.7, max(10, highest * 1.1), _BOTTOM, _TOP, is_log=True)
    across = Scale(0, 100, _LEFT, _WIDTH - 30, is_whole=True)
    bars = []
    for place, weight in enumerate(bins):
        if weight.num_lineages:
            left, top = across(place * STEP), up(weight.num_lineages)
            last = 100 if place == len(bins) - 1 else (place + 1) * STEP - 1
            description = f"{place * STEP} to {last} %: {number(weight.num_lineages)} lineages, {number(weight.num_records)} records"
            width = across((place + 1) * STEP) - left - 2
            bars.append(element("rect", element("title", description), x=left + 1, y=top, width=width, height=_BOTTOM - top, class_="bar"))
    num_sure = bins[-1].num_lineages
    description = (
        f"Lineages by confidence; {number(num_sure)} at 95 percent or more, {number(sum(b.num_lineages for b in bins) - num_sure)} below."
    )
    return svg(
        _WIDTH,
        250.0,
        description,
        vertical_axis(up, _LEFT, _WIDTH - 30, lambda value: number(round(value)), "lineages (log scale)"),
        horizontal_axis(across, _BOTTOM, _BOTTOM, lambda value: f"{value:g} %", "confidence"),
        *bars,
    )
