"""SVG as `Markup`: elements, texts and lines; lengths are user units (px at full size)."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup, escape

from bioclip.report.html.text import plain, shorten


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
_KEYS_A_ROW, _KEY_WIDTH = 3, 140.0
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


def standalone(drawing: Markup, title: str, keys: Sequence[tuple[str, str]] = ()) -> bytes:
    """A drawing as a file of its own, with the light colours of report.css, its title above and a legend of (style, text) below it."""
    css = (Path(__file__).parents[1] / "html" / "report.css").read_text(encoding="utf-8")
    rules = [css[css.index(":root") : css.index("}") + 1], *(line for line in css.splitlines() if line.startswith(_STYLES))]
    view = re.search(r'viewBox="0 0 ([0-9.]+) ([0-9.]+)" width="\d+"', drawing)
    assert view is not None, "every drawing is made by svg()"
    width, height = (float(length) for length in view.groups())
    lines = [label(0, 16.0 + 18 * place, line, class_="strong") for place, line in enumerate(textwrap.wrap(title, round(width / 7.4)))]
    top = 18.0 * len(lines) + 10
    legend = [_key(number, style, text, top + 10) for number, (style, text) in enumerate(keys)]
    top += 18.0 * -(-len(keys) // _KEYS_A_ROW)
    sized = Markup('<svg y="{}" width="{}" height="{}" viewBox="0 0 {} {}"').format(*map(coordinate, (top, width, height, width, height)))
    style = Markup("<style>{}</style>").format(Markup("\n".join(rules)))  # noqa: S704 (the project's own rules)
    ground = element("rect", x=-12, y=0, width="100%", height="100%", fill="#fff")
    view_box = f"-12 0 {width + 24:g} {height + top + 12:g}"
    inner = sized + drawing[view.end() :]
    return element("svg", style, ground, *lines, *legend, inner, xmlns=_XMLNS, viewBox=view_box, width=round(2 * width)).encode()


def _key(number: int, style: str, text: str, top: float) -> Markup:
    x, y = _KEY_WIDTH * (number % _KEYS_A_ROW), top + 18.0 * (number // _KEYS_A_ROW)
    return join([element("rect", x=x, y=y - 9, width=10, height=10, class_=style), label(x + 16, y, shorten(text, 17))])
