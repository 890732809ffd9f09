"""HTML and SVG that escape by default: text is escaped unless it is already `Markup`, so hostile provider text stays text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_SPACES = re.compile(r"\s+")
_VOID = frozenset({"img", "meta", "br", "col", "hr"})
_LINKED_SCHEMES = frozenset({"http", "https"})


class Markup(str):
    """Text that is HTML already and is inserted as it is."""

    __slots__ = ()


def plain(text: str) -> str:
    """`text` with runs of white space as one space, and U+FFFD for characters that are invisible or turn the direction of text."""
    return _UNPRINTABLE.sub("\ufffd", _SPACES.sub(" ", text))


def shorten(text: str, max_chars: int) -> str:
    """`text` in at most `max_chars` characters, its end replaced by an ellipsis when it is longer."""
    return text if len(text) <= max_chars else text[: max_chars - 1].rstrip() + "…"


def escape(text: str) -> Markup:
    """`text` as HTML, fit for content and for quoted attributes; `Markup` comes back as it is."""
    return text if isinstance(text, Markup) else Markup(html.escape(plain(text), quote=True))


def join(parts: Iterable[str]) -> Markup:
    """The parts one after another, each escaped unless it is `Markup`."""
    return Markup("".join(escape(part) for part in parts))


def element(name: str, /, *children: str, **attributes: str | int | float | bool | None) -> Markup:
    """An element `name`. Attributes: a trailing `_` is cut, other `_` become `-`, None and False are left out, True is bare."""
    text = [f"<{name}"]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        shown = coordinate(value) if isinstance(value, float) else str(value)
        text.append(f" {attribute}" if value is True else f' {attribute}="{html.escape(plain(shown), quote=True)}"')
    text.append(">")
    return Markup("".join(text)) if name in _VOID else Markup(f"{''.join(text)}{join(children)}</{name}>")


def coordinate(value: float) -> str:
    """A number for SVG with at most two decimals, the same on every machine."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


def name_of(text: str, max_chars: int = 60) -> Markup:
    """Provider text in its own direction (`bdi`), shortened; the title holds up to 400 characters of the whole."""
    whole = plain(text).strip()
    short = shorten(whole, max_chars)
    return element("bdi", short, title=shorten(whole, 400) if short != whole else None)


def link(url: str, max_chars: int = 60, shown: Markup | None = None) -> Markup:
    """A link when `url` is http(s) with a host, else its text alone. `shown` is what is read in place of the address."""
    shown = shown if shown is not None else name_of(url.removeprefix("https://").removeprefix("http://"), max_chars)
    try:
        parts = urlsplit(url)
        linked = parts.scheme in _LINKED_SCHEMES and bool(parts.hostname) and not _UNPRINTABLE.search(url)
    except ValueError:
        linked = False
    return element("a", shown, href=url, rel="nofollow noopener noreferrer") if linked else shown


def number(value: int) -> str:
    """An integer with thousands separated."""
    return f"{value:,}"


def percent(part: float, whole: float = 1.0, digits: int = 1) -> str:
    """A share in percent; an em dash when there is no whole."""
    return f"{100 * part / whole:.{digits}f} %" if whole else "—"


def table(
    caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], numeric: Iterable[int] = (), class_: str | None = None
) -> Markup:
    """A table with a caption in a box that scrolls sideways; columns in `numeric` are aligned right, the first heads its row."""
    right = frozenset(numeric)

    def cell(column: int, content: str, head: bool) -> Markup:
        style = "number" if column in right else None
        if head:
            return element("th", content, scope="col", class_=style)
        return element("th", content, scope="row", class_=style) if column == 0 else element("td", content, class_=style)

    head = element("thead", element("tr", *(cell(i, text, True) for i, text in enumerate(header))))
    body = element("tbody", *(element("tr", *(cell(i, content, False) for i, content in enumerate(row))) for row in rows))
    whole = element("table", element("caption", caption), head, body, class_=class_)
    return scrolling(whole, caption)


def scrolling(content: Markup, label: str) -> Markup:
    """A box that scrolls sideways, by keyboard too, where `content` is wider than the page."""
    return element("div", content, class_="scroll", tabindex=0, role="region", aria_label=label)


def figure(caption: str, *content: str, class_: str | None = None) -> Markup:
    """A figure with its caption below."""
    return element("figure", *content, element("figcaption", caption), class_=class_)
