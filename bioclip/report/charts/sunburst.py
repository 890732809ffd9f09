"""A sunburst of lineages: one ring per rank from the root outwards, arc lengths by number of samples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from bioclip.records import RANKS
from bioclip.report.charts.svg import element, label, svg
from bioclip.report.html.text import number, percent, shorten

KINGDOM_COLORS = {
    "Animalia": "#2f6690",
    "Plantae": "#3f7d44",
    "Fungi": "#a8642a",
    "Chromista": "#217c7e",
    "Bacteria": "#7a4f9a",
    "Archaea": "#a2466b",
    "Protozoa": "#72701f",
    "Viruses": "#5b5f6b",
}
OTHER_COLOR = "#6d6d72"
_SIZE_PX = 960
_HUB_PX = 62
_RINGS_PX = (46, 62, 76, 76, 78, 76)
_FADE = (0.0, 0.14, 0.3, 0.44, 0.56, 0.66)
_CHAR_PX = 6.5
_MIN_TURN = 0.0009
"""Arcs under a third of a degree are drawn as one, so that the size of the drawing does not depend on the number of taxa."""
_UNNAMED = "(rank not given)"


@dataclass
class _Taxon:
    name: str
    num_samples: int = 0
    children: dict[str, _Taxon] = field(default_factory=dict)

    def ordered(self) -> list[_Taxon]:
        return sorted(self.children.values(), key=lambda child: (-child.num_samples, child.name))


@dataclass(frozen=True)
class Arc:
    """The arc of one taxon: `start` and `turn` in turns clockwise from the top; `depth` 0 is the kingdom."""

    names: tuple[str, ...]
    depth: int
    start: float
    turn: float
    num_samples: int
    is_rest: bool = False

    @property
    def inner(self) -> float:
        """Inner radius in px."""
        return float(_HUB_PX + sum(_RINGS_PX[: self.depth]))

    @property
    def outer(self) -> float:
        """Outer radius in px."""
        return self.inner + _RINGS_PX[self.depth]

    @property
    def color(self) -> str:
        """The kingdom's colour, lighter with each rank; arcs of several small taxa are grey."""
        base = OTHER_COLOR if self.is_rest else kingdom_color(self.names[0])
        return _lighter(base, max(_FADE[self.depth], 0.55 if self.is_rest else 0))


def kingdom_color(kingdom: str) -> str:
    """Fill of a kingdom's arcs, as #rrggbb."""
    return KINGDOM_COLORS.get(kingdom, OTHER_COLOR)


def lay_out(lineages: Mapping[tuple[str, ...], int]) -> list[Arc]:
    """Arcs of all taxa, largest first within each parent. `lineages`: (kingdom, …, genus), '' for unresolved ranks -> samples."""
    root = _Taxon("")
    for lineage, count in sorted(lineages.items()):
        depth = max((index + 1 for index, name in enumerate(lineage) if name), default=0)
        taxon = root
        taxon.num_samples += count
        for name in lineage[:depth]:
            taxon = taxon.children.setdefault(name, _Taxon(name or _UNNAMED))
            taxon.num_samples += count
    return list(_arcs(root, (), 0.0, root.num_samples)) if root.num_samples else []


def _arcs(parent: _Taxon, names: tuple[str, ...], start: float, whole: int) -> Iterator[Arc]:
    rest = num_rest = 0
    for child in parent.ordered():
        turn = child.num_samples / whole
        if turn < _MIN_TURN:
            rest, num_rest = rest + child.num_samples, num_rest + 1
            continue
        arc = Arc((*names, child.name), len(names), start, turn, child.num_samples)
        yield arc
        yield from _arcs(child, arc.names, start, whole)
        start += turn
    if rest / whole >= _MIN_TURN / 4:
        yield Arc((*names, f"{number(num_rest)} small taxa"), len(names), start, rest / whole, rest, is_rest=True)


def sunburst(lineages: Mapping[tuple[str, ...], int]) -> Markup:
    """The drawing; each arc has its lineage, samples and share as a title."""
    arcs = lay_out(lineages)
    whole = sum(lineages.values())
    centre = _SIZE_PX / 2
    hub = [label(0, -2, number(whole), "middle", "hub"), label(0, 18, "samples", "middle", "title")]
    parts = element("g", *(_sector(arc, whole) for arc in arcs), *(_labels(arcs)), *hub, transform=f"translate({centre:g} {centre:g})")
    description = ", ".join(f"{arc.names[0]} {percent(arc.num_samples, whole)}" for arc in arcs if arc.depth == 0)
    return svg(
        _SIZE_PX, _SIZE_PX, f"Samples by kingdom, phylum, class, order, family and genus: {description}.", parts, class_="chart sunburst"
    )


def _sector(arc: Arc, whole: int) -> Markup:
    start, turn = arc.start, min(arc.turn, 0.99999)
    large = int(turn > 0.5)
    (a, b), (c, d) = _point(start, arc.outer), _point(start + turn, arc.outer)
    (e, f), (g, h) = _point(start + turn, arc.inner), _point(start, arc.inner)
    shape = (
        f"M{a:.1f},{b:.1f}A{arc.outer:g},{arc.outer:g} 0 {large} 1 {c:.1f},{d:.1f}"
        f"L{e:.1f},{f:.1f}A{arc.inner:g},{arc.inner:g} 0 {large} 0 {g:.1f},{h:.1f}Z"
    )
    lineage = " › ".join(shorten(name, 60) for name in arc.names)
    description = f"{lineage} ({RANKS[arc.depth]}): {number(arc.num_samples)} samples, {percent(arc.num_samples, whole)}"
    return element("path", element("title", description), d=shape, fill=arc.color)


def _labels(arcs: Sequence[Arc]) -> Iterator[Markup]:
    for index, arc in enumerate(arcs):
        if arc.is_rest or arc.names[-1] == _UNNAMED:
            continue
        middle_px = (arc.inner + arc.outer) / 2
        length_px = 2 * math.pi * middle_px * arc.turn
        ink = "#fff" if _contrast_with_white(arc.color) >= 4.5 else "#161616"
        name = arc.names[-1]
        if length_px >= len(name) * (_CHAR_PX if arc.depth else 1.5 * _CHAR_PX) + 14 and arc.turn < 0.999:
            yield _along(arc, f"arc-{index}", middle_px, name, ink)
        elif arc.turn >= 0.999:
            yield element(
                "text", shorten(name, 40), x=0, y=4 - middle_px, text_anchor="middle", style=f"fill:{ink}", class_=f"ring-{arc.depth}"
            )
        elif length_px >= 13 and arc.depth:
            yield _outwards(arc, middle_px, shorten(name, int((arc.outer - arc.inner - 6) / _CHAR_PX)), ink)


def _along(arc: Arc, identifier: str, radius: float, name: str, ink: str) -> Markup:
    middle = (arc.start + arc.turn / 2) % 1
    is_below = 0.25 < middle < 0.75
    radius = radius + 4 if is_below else radius - 4
    first, last = (arc.start + arc.turn, arc.start) if is_below else (arc.start, arc.start + arc.turn)
    (a, b), (c, d) = _point(first, radius), _point(last, radius)
    line = f"M{a:.1f},{b:.1f}A{radius:g},{radius:g} 0 {int(arc.turn > 0.5)} {int(not is_below)} {c:.1f},{d:.1f}"
    guide = element("path", d=line, id=identifier, class_="guide")
    text = element("textPath", name, href=f"#{identifier}", startOffset="50%")
    return element("g", guide, element("text", text, text_anchor="middle", style=f"fill:{ink}", class_=f"ring-{arc.depth}"))


def _outwards(arc: Arc, radius: float, name: str, ink: str) -> Markup:
    middle = (arc.start + arc.turn / 2) % 1
    x, y = _point(middle, radius)
    angle = middle * 360 - 90 + (180 if middle > 0.5 else 0)
    turn = f"translate({x:.1f} {y:.1f}) rotate({angle:.1f})"
    return element("text", name, transform=turn, y=4, text_anchor="middle", style=f"fill:{ink}", class_=f"ring-{arc.depth}")


def _point(turn: float, radius: float) -> tuple[float, float]:
    return radius * math.sin(2 * math.pi * turn), -radius * math.cos(2 * math.pi * turn)


def _channels(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _lighter(color: str, share: float) -> str:
    return "#" + "".join(f"{round(channel + (255 - channel) * share):02x}" for channel in _channels(color))


def _contrast_with_white(color: str) -> float:
    """Contrast ratio of the Web Content Accessibility Guidelines 2.1."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (channel / 255 for channel in _channels(color))]
    return 1.05 / (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)
