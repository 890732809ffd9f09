"""Photographs with their labels, credits and details, as functions: each renders a macro of photographs.html."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from bioclip.licenses import license_url
from bioclip.report.data.samples.sample_summary import Photo
from bioclip.report.html.components import join, link, name_of
from bioclip.report.html.templates import render_macro
from bioclip.report.html.text import number, plain, shorten

_TEMPLATE = "photographs.html"
_ITALIC_RANKS = frozenset({"genus", "species"})


def picture(photo: Photo) -> Markup:
    """The thumbnail, or a box that states that there is none."""
    return render_macro(_TEMPLATE, "picture", photo, shorten(plain(photo.label) or "unlabelled", 80))


def label_of(photo: Photo, text: str) -> Markup:
    """A name that links to the provider's page of the photograph."""
    return render_macro(_TEMPLATE, "label", name_of(text or "(no name)", 40), photo.url, photo.resolved_rank in _ITALIC_RANKS)


def credit_line(photo: Photo) -> Markup:
    """Who took the photograph, and its licence."""
    holder = name_of(photo.credit, 48) if photo.credit else ""
    terms = link(license_url(photo.license), shown=name_of(photo.license or "no licence stated", 40))
    return render_macro(_TEMPLATE, "credit", holder, terms)


def tile(photo: Photo, *lines: Markup, class_: str = "tile", label: str | None = None) -> Markup:
    """A photograph with its label, the given lines and its credit; `label` replaces the accepted name."""
    caption = [label_of(photo, photo.label if label is None else label), *lines, credit_line(photo)]
    return render_macro(_TEMPLATE, "tile", picture(photo), caption, class_)


def empty_tile(title: str, text: str, *lines: Markup) -> Markup:
    """A box in place of a picture, with the given lines."""
    return render_macro(_TEMPLATE, "tile", render_macro(_TEMPLATE, "placeholder", title, text, ""), lines, "tile")


def more_box(count: int) -> Markup:
    """A box that counts what is not shown; empty for 0."""
    return render_macro(_TEMPLATE, "placeholder", "", f"{number(count)} more", "more") if count > 0 else Markup("")


def card(heading: Sequence[Markup], tiles: Iterable[Markup], meaning: str = "") -> Markup:
    """Photographs that belong together, below a line of headings and a sentence."""
    return render_macro(_TEMPLATE, "card", heading, meaning, list(tiles))


def specimens(photos: Iterable[Photo]) -> Markup:
    """A row of photographs; empty when none has a thumbnail."""
    tiles = [tile(photo) for photo in photos if photo.thumbnail is not None]
    return render_macro(_TEMPLATE, "specimens", tiles) if tiles else join([])
