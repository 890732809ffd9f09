"""Scales and axes shared by the charts; lengths are SVG user units (px at full size)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from bioclip.report.charts.svg import join, label, segment

_STEPS = (1, 2, 2.5, 5, 10)
_WHOLE_STEPS = (1, 2, 5, 10)


@dataclass(frozen=True)
class Scale:
    """Maps [low, high] to [start, end], by the logarithm when `is_log` (then low > 0); ticks are whole numbers when `is_whole`."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False
    is_whole: bool = False

    def __call__(self, value: float) -> float:
        """Position of `value`; values outside are moved to the nearer end."""
        value = min(max(value, self.low), self.high)
        value, low, high = (math.log(bound) for bound in (value, self.low, self.high)) if self.is_log else (value, self.low, self.high)
        share = (value - low) / (high - low)
        return self.start + share * (self.end - self.start)

    def ticks(self, num: int = 5) -> list[float]:
        """About `num` round values; powers of ten, and 2 and 5 times those where they are few, on a log scale."""
        if not self.is_log:
            return round_ticks(self.low, self.high, num, self.is_whole)
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        factors = (1,) if len(decades) > 4 else (1, 2, 5)
        values = [factor * 10.0**decade for decade in decades for factor in factors]
        return [value for value in values if self.low * 0.999 <= value <= self.high * 1.001]


def round_ticks(low: float, high: float, num: int, is_whole: bool = False) -> list[float]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten between `low` and `high`; whole numbers only when `is_whole`."""
    rough = max((high - low) / num, 1.0 if is_whole else 0.0)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (_WHOLE_STEPS if is_whole else _STEPS) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def vertical_axis(scale: Scale, left: float, right: float, write: Callable[[float], str], title: str, num: int = 4) -> Markup:
    """Grid lines from `left` to `right` with their values to the left, and the title above."""
    lines = [segment(left, scale(tick), right, scale(tick), "grid") for tick in scale.ticks(num)]
    values = [label(left - 7, scale(tick) + 4, write(tick), "end") for tick in scale.ticks(num)]
    return join([*lines, *values, label(left, scale.end - 10, title, class_="title")])


def horizontal_axis(scale: Scale, top: float, bottom: float, write: Callable[[float], str], title: str, num: int = 5) -> Markup:
    """Grid lines from `top` to `bottom` with their values below, and the title under them."""
    lines = [segment(scale(tick), top, scale(tick), bottom, "grid") for tick in scale.ticks(num)]
    values = [label(scale(tick), bottom + 16, write(tick), "middle") for tick in scale.ticks(num)]
    return join([*lines, *values, label(scale.end, bottom + 33, title, "end", "title")])
