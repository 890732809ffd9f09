"""Parts of a section as functions: each renders one macro of components.html."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from markupsafe import Markup

from bioclip.drop_reasons import find_reason
from bioclip.report.html.templates import render_macro

_TEMPLATE = "components.html"


def join(parts: Iterable[Markup]) -> Markup:
    """The parts one after another."""
    return Markup("").join(parts)


def name_of(text: str, max_chars: int = 60) -> Markup:
    """Provider text in its own direction (`bdi`), shortened; the title holds up to 400 characters of the whole."""
    return render_macro(_TEMPLATE, "name", text, max_chars)


def link(url: str, max_chars: int = 60, shown: Markup | None = None) -> Markup:
    """A link when `url` is http(s) with a host, else its text alone. `shown` replaces the address as the text."""
    text = shown if shown is not None else name_of(url.removeprefix("https://").removeprefix("http://"), max_chars)
    return render_macro(_TEMPLATE, "link", url, text)


def local_link(url: str, text: str) -> Markup:
    """A link to a page in the same folder, or to a place on the same page."""
    return Markup('<a href="{}">{}</a>').format(url, text)


def code(text: str, class_: str = "") -> Markup:
    """Text in a fixed-width font: ids, keys, reasons."""
    return render_macro(_TEMPLATE, "inline", "code", text, class_)


def digest_of(text: str) -> Markup:
    """A digest, which may break anywhere."""
    return code(text, "digest")


def italic(text: str) -> Markup:
    """Text in italics: names of taxa."""
    return render_macro(_TEMPLATE, "inline", "i", text, "")


def strong(text: str, class_: str = "") -> Markup:
    """Text in bold."""
    return render_macro(_TEMPLATE, "inline", "strong", text, class_)


def span(text: str, class_: str) -> Markup:
    """Text of a style of report.css."""
    return render_macro(_TEMPLATE, "inline", "span", text, class_)


def note(*parts: str) -> Markup:
    """A paragraph."""
    return render_macro(_TEMPLATE, "note", parts)


def heading(title: str, unit: str = "") -> Markup:
    """A heading within a section, with a count or unit after it."""
    return render_macro(_TEMPLATE, "heading", title, unit)


def minor_heading(title: str) -> Markup:
    """A heading below `heading`."""
    return render_macro(_TEMPLATE, "minor_heading", title)


def absent(sentence: str) -> Markup:
    """A sentence in place of what cannot be shown."""
    return render_macro(_TEMPLATE, "absent", sentence)


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], numeric: Iterable[int] = (), class_: str = "") -> Markup:
    """A table with a caption in a box that scrolls sideways; columns in `numeric` are right-aligned, the first cell heads its row."""
    return render_macro(_TEMPLATE, "table", caption, header, list(rows), frozenset(numeric), class_)


def figure(caption: str, drawing: Markup, keys: Sequence[tuple[str, str]] = (), class_: str = "") -> Markup:
    """A drawing with its caption below; `keys` are (style, text) of a legend in front of the caption."""
    return render_macro(_TEMPLATE, "figure", drawing, caption, keys, class_)


def columns(*parts: Markup) -> Markup:
    """Parts side by side where the page is wide enough, else one below the other."""
    return group("columns", *parts)


def group(class_: str, *parts: Markup) -> Markup:
    """Parts in one box of a layout of report.css: `columns`, `beside`, `charts`, `cards`, `tiles`, `pair`."""
    return render_macro(_TEMPLATE, "group", class_, parts)


def details(summary: str, content: Markup) -> Markup:
    """Content that is closed at first."""
    return render_macro(_TEMPLATE, "details", summary, content)


def swatch(color: str, text: str) -> Markup:
    """Text behind a square of a colour."""
    return render_macro(_TEMPLATE, "swatch", color, text)


def reason_list(reasons: Mapping[str, int]) -> Markup:
    """Drop reasons with their counts, the most frequent first; each has its sentence as a title."""
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return render_macro(_TEMPLATE, "reasons", [(name_of(reason), count, _sentence(reason)) for reason, count in ordered])


def explain_reason(reason: str) -> Markup:
    """The sentence that explains a drop reason, settings in a fixed-width font; a dash for one that is not registered."""
    return render_macro(_TEMPLATE, "explanation", _sentence(reason) or "—")


def _sentence(reason: str) -> str:
    known = find_reason(reason)
    return known.sentence if known else ""


def reason_glossary(reasons: Iterable[str]) -> Markup:
    """A closed table that explains each of `reasons`; empty without any."""
    rows = [(code(name_of(reason)), explain_reason(reason)) for reason in sorted(set(reasons))]
    if not rows:
        return Markup("")
    title = f"What the {len(rows)} drop reasons mean" if len(rows) > 1 else "What the drop reason means"
    return details(title, table("Drop reasons", ("Reason", "Meaning"), rows, class_="dense"))


def tiles(entries: Iterable[tuple[str, str]], class_: str = "") -> Markup:
    """The figures at the head of a page: (label, value)."""
    return render_macro(_TEMPLATE, "tiles", list(entries), class_)
