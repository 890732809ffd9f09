"""Charts: positions follow the numbers, and edge cases are drawn without errors."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from bioclip.report.charts.axes import Scale, round_ticks
from bioclip.report.charts.lines_and_dots import Curve, ScorePoint, curves_chart, dots_chart
from bioclip.report.charts.sunburst import lay_out, sunburst
from bioclip.report.charts.svg import coordinate, element
from bioclip.report.html.components import link, note
from bioclip.report.html.text import plain, shorten

names = st.sampled_from(["", "Aa", "Bb", "Cc", "<b>"])
lineages = st.dictionaries(st.tuples(names, names, names, names, names, names), st.integers(1, 500), min_size=1, max_size=30)


@given(lineages)
def test_arcs_of_a_ring_never_overlap_and_lie_within_their_parent(counted: dict[tuple[str, ...], int]) -> None:
    arcs = lay_out(counted)
    whole = sum(counted.values())
    for arc in arcs:
        assert arc.turn == pytest.approx(arc.num_samples / whole)
        if arc.depth:
            parents = [a for a in arcs if a.depth == arc.depth - 1 and a.start <= arc.start + 1e-9 <= a.start + a.turn]
            assert any(arc.start + arc.turn <= a.start + a.turn + 1e-9 for a in parents)
    for depth in range(6):
        ring = sorted((a.start, a.start + a.turn) for a in arcs if a.depth == depth)
        assert all(end <= following + 1e-9 for (_, end), (following, _) in pairwise(ring))


@given(lineages)
def test_kingdoms_cover_the_samples_that_have_a_rank(counted: dict[tuple[str, ...], int]) -> None:
    resolved = sum(count for lineage, count in counted.items() if any(lineage))
    assert sum(arc.num_samples for arc in lay_out(counted) if arc.depth == 0) == resolved


def test_very_many_taxa_are_drawn_as_few_arcs() -> None:
    counted = {("Animalia", "Chordata", "Aves", "Passeriformes", f"Family{n % 900}", f"Genus{n}"): 1 for n in range(20_000)}
    arcs = lay_out(counted)
    assert len(arcs) < 2_000
    assert [arc.names[-1] for arc in arcs if arc.is_rest] != []
    assert sum(arc.num_samples for arc in arcs if arc.depth == 4) == 20_000


def test_one_lineage_is_drawn_as_closed_rings_with_readable_ink() -> None:
    drawing = sunburst({("Animalia", "Chordata", "Aves", "", "", ""): 7})
    assert drawing.count("<path") == 3
    assert "fill:#fff" in drawing
    assert "fill:#161616" in drawing
    assert "nan" not in drawing.lower()


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(1, 8))
def test_ticks_are_round_few_and_inside(low: float, span: float, num: int) -> None:
    ticks = round_ticks(low, low + span, num)
    assert len(ticks) <= num + 2
    assert all(low - span * 1e-6 <= tick <= low + span * (1 + 1e-6) for tick in ticks)


def test_a_log_scale_puts_equal_factors_at_equal_distances() -> None:
    scale = Scale(1, 1000, 0, 300, is_log=True)
    assert [scale(value) for value in (1, 10, 100, 1000)] == pytest.approx([0, 100, 200, 300])
    assert scale.ticks() == [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]


def test_a_dot_lies_on_the_axis_where_its_value_is() -> None:
    drawing = dots_chart("Zero-shot", [ScorePoint("low", 0.0, 0.0, 0.1, 0.01), ScorePoint("high", 0.5, None, None, None)], "top-1 accuracy")
    x = [float(value) for value in re.findall(r'<circle cx="([\d.]+)"', drawing)]
    axis = [float(value) for value in re.findall(r'<line x1="([\d.]+)" y1="4" x2="\1"', drawing)]
    assert x[0] == axis[0]
    assert x[1] == pytest.approx(axis[0] + 2.5 * (axis[1] - axis[0]), abs=0.05)
    assert [f">{tick}\N{NO-BREAK SPACE}%<" in drawing for tick in (0, 20, 40)] == [True] * 3
    assert drawing.count('class="chance"') == 1
    assert drawing.count('class="whisker"') == 3


def test_a_single_step_is_a_dot_and_a_broken_value_is_left_out() -> None:
    drawing = curves_chart([Curve("training loss", ((3, 2.5),))])
    assert drawing.count('class="dot"') == 1
    assert "nan" not in curves_chart([Curve("loss", ((1, 2.0), (2, math.nan), (3, 1.0)))]).lower()


@given(st.text())
def test_escaped_text_holds_no_character_of_markup(text: str) -> None:
    escaped = note(text).removeprefix("<p>").removesuffix("</p>")
    assert not set("<>\"'") & set(escaped)
    escaped.encode()
    assert element("p", text, title=text).count("<") == 2


@given(st.text())
def test_plain_text_has_no_character_that_turns_its_surroundings(text: str) -> None:
    assert not set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068\n\x00") & set(plain(text))


@given(st.text(), st.integers(1, 20))
def test_shortened_text_fits(text: str, max_chars: int) -> None:
    assert len(shorten(text, max_chars)) <= max_chars


@pytest.mark.parametrize(
    ("url", "is_linked"),
    [
        ("https://example.org/a.jpg", True),
        ("http://example.org", True),
        ("javascript:alert(1)", False),
        ("javascript://example.org/%0aalert(1)", False),
        ("ftp://example.org/a.jpg", False),
        (" javascript:alert(1)", False),
        ("java\nscript:alert(1)", False),
        ("data:text/html,x", False),
        ("https:///nohost", False),
        ("https://example.org/\u202egpj.exe", False),
        ("", False),
    ],
)
def test_only_plain_http_urls_become_links(url: str, is_linked: bool) -> None:
    assert ("<a " in link(url)) == is_linked


def test_numbers_in_drawings_are_short_and_have_no_minus_zero() -> None:
    assert [coordinate(value) for value in (1.0, 1.239, -0.001, 0.0, -2.5)] == ["1", "1.24", "0", "0", "-2.5"]
    assert element("g", Markup("<i></i>"), x=0.5) == '<g x="0.5"><i></i></g>'
