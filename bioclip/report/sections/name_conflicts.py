"""The section on one image under several names."""

from __future__ import annotations

from bioclip import layout
from bioclip.records import RANKS
from bioclip.report.data.image_conflicts import ImageConflicts, ImageNames, NamedImage
from bioclip.report.html.markup import Markup, element, join, link, name_of, number
from bioclip.report.sections.galleries import KIND_TITLES, credit_line, picture
from bioclip.report.sections.section import Section, note

_DECISIONS = {"kept": "image kept", "label_conflict": "image left out"}


def images_section(conflicts: ImageConflicts) -> Section:
    """Images whose records name different taxa, and those where only the names as given differ."""
    title = "One image under several names"
    parts: list[Markup] = []
    if conflicts.num_differing:
        parts.append(element("h3", "Different taxa"))
        num_between = number(conflicts.num_differing_between_sources)
        text = (
            f"{_images(conflicts.num_differing)} whose records are of different accepted taxa; {num_between} of them between sources. "
            f"In {number(conflicts.num_differing_near)} a picture is only near the kept one and may be another photograph."
        )
        parts += [note(text), _cards(conflicts.differing, conflicts.num_differing, layout.in_splits(layout.LABEL_CONFLICTS))]
    if conflicts.num_agreeing:
        parts.append(element("h3", "Different names, no contradiction"))
        text = (
            f"{_images(conflicts.num_agreeing)} whose records carry names that differ as given but agree once accepted, or of which one is "
            f"less exact or unresolved; {number(conflicts.num_agreeing_between_sources)} of them between sources."
        )
        parts += [note(text), _cards(conflicts.agreeing, conflicts.num_agreeing, layout.DUPLICATE_GROUPS)]
    absent = "Records of the same image agree on its name, or there is no image with several records."
    return Section("images", title, join(parts) if parts else None, absent)


def _images(count: int) -> str:
    return f"{number(count)} group{'s' if count != 1 else ''} of the same or nearly the same image"


def _cards(shown: tuple[ImageNames, ...], num_all: int, file: str) -> Markup:
    cards = element("div", *(_card(image) for image in shown), class_="cards")
    more = note(f"{number(num_all - len(shown))} more are in {file}.") if num_all > len(shown) else ""
    return join([cards, more])


def _card(image: ImageNames) -> Markup:
    heading = [element("strong", f"{number(image.size)} records"), element("span", _origins(image), class_="badge")]
    if image.rank:
        heading.append(element("span", f"differ at {image.rank}", class_="badge warning"))
        heading.append(element("span", _DECISIONS.get(image.decision, image.decision), class_="badge kept"))
    tiles = [_tile(member, image.rank) for member in image.members]
    if (left_out := image.size - len(image.members)) > 0:
        tiles.append(element("div", f"{number(left_out)} more", class_="placeholder"))
    return element("article", element("header", *heading), element("div", *tiles, class_="tiles"), class_="card")


def _origins(image: ImageNames) -> str:
    return f"{number(image.num_sources)} sources" if image.num_sources > 1 else "one source"


def _tile(member: NamedImage, rank: str) -> Markup:
    lines = [
        element("strong", link(member.photo.page_url, shown=name_of(member.verbatim_name or "(no name)", 40))),
        element("span", *_accepted(member, rank), class_="detail" if rank else None),
        element("span", _likeness(member), class_="badge"),
        element("span", name_of(member.photo.source, 30), class_="credit"),
        credit_line(member.photo),
    ]
    return element("figure", picture(member.photo), element("figcaption", *lines), class_="tile")


def _accepted(member: NamedImage, rank: str) -> list[Markup]:
    """The accepted name, with that at the rank of the conflict before it where that is another."""
    lowest = next((name for name in reversed(member.lineage) if name), "")
    if not lowest:
        return [Markup("unresolved")]
    at_rank = member.lineage[RANKS.index(rank)] if rank else ""
    above = [name_of(at_rank, 30), Markup(" › ")] if at_rank and at_rank != lowest else []
    return [*above, name_of(lowest, 40)]


def _likeness(member: NamedImage) -> str:
    if member.kind == "kept":
        return "kept of the group"
    return f"{KIND_TITLES.get(member.kind, member.kind)}, {member.distance} bits"
