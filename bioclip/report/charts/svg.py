"""SVG as `Markup`: elements, texts and lines; lengths are user units (px at full size)."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup, escape

from bioclip.report.html.text import plain


def element(name: str, /, *children: str, **attributes: str | float | None) -> Markup:
    """An element; text that is not `Markup` is escaped. Attributes: a trailing `_` is cut, other `_` become `-`, None is left out."""
    given = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not None)
    written = Markup("").join(Markup(' {}="{}"').format(key, _attribute(value)) for key, value in given)
    return Markup("<{0}{1}>{2}</{0}>").format(name, written, join(children))


def join(parts: Sequence[str]) -> Markup:
    """The parts one after another; text that is not `Markup` is cleaned and escaped."""
    return Markup("").join(part if isinstance(part, Markup) else escape(plain(part)) for part in parts)


def _attribute(value: str | float) -> str:
    return coordinate(value) if isinstance(value, float) else plain(str(value))


def coordinate(value: float) -> str:
    """A number with at most two decimals, the same on every machine."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


_XMLNS = "http://www.w3.org/2000/svg"
_STYLES = ("svg ", ".hue-", ".tint-", ".rest")
"""Beginnings of the rules of report.css that drawings use."""
TEXT_UNITS, TEXT_PX = 12, 14
"""Size of a chart's text in its own units, and on a page that is wide enough: that of tables and captions."""


def svg(width: float, height: float, title: str, *content: str, class_: str = "chart") -> Markup:
    """A drawing that shrinks with the page; `title` is its text for screen readers.

    `width` and `height` are in user units. The drawing is at most as wide as makes its text as large as that of tables.
    """
    view = f"0 0 {width:g} {height:g}"
    widest = round(width * TEXT_PX / TEXT_UNITS)
    return element("svg", element("title", title), *content, viewBox=view, width=widest, role="img", aria_label=title, class_=class_)


def label(x: float, y: float, content: str, anchor: str = "start", class_: str | None = None) -> Markup:
    """A text with its baseline at (x, y)."""
    return element("text", content, x=x, y=y, text_anchor=anchor, class_=class_)


def segment(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def path(points: Sequence[tuple[float, float]]) -> str:
    """Path data of a polyline."""
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points)


def standalone(drawing: Markup, title: str) -> bytes:
    """A drawing as a file of its own, with the light colours of report.css and its title above."""
    css = (Path(__file__).parents[1] / "html" / "report.css").read_text(encoding="utf-8")
    root = css[css.index(":root") : css.index("}") + 1]
    rules = [line for line in css.splitlines() if line.startswith(_STYLES)]
    view = re.search(r'viewBox="0 0 ([0-9.]+) ([0-9.]+)"', drawing)
    width, height = (float(length) for length in view.groups()) if view else (440.0, 300.0)
    lines = textwrap.wrap(title, round(width / 6.6)) or [""]
    top = 18.0 * len(lines) + 10
    titles = [label(0, 16.0 + 18 * place, line, class_="strong") for place, line in enumerate(lines)]
    moved = drawing.replace("<svg ", Markup('<svg y="{}" ').format(coordinate(top)), 1)
    style = Markup("<style>{}</style>").format(Markup("\n".join([root, *rules])))  # noqa: S704 (the project's own rules)
    whole = element(
        "svg",
        style,
        element("rect", width="100%", height="100%", fill="#fff"),
        *titles,
        moved,
        xmlns=_XMLNS,
        viewBox=f"-12 0 {width + 24:g} {height + top + 12:g}",
        width=round(2 * width),
    )
    return whole.encode()
