"""Images under several names: groups of identical or nearly identical images whose records disagree."""

from __future__ import annotations

from markupsafe import Markup

from bioclip import layout
from bioclip.records import RANKS
from bioclip.report.data.image_groups.image_conflicts import ImageConflicts, ImageNames, NamedImage
from bioclip.report.html.components import group, heading, join, name_of, note, span, strong
from bioclip.report.html.photographs import card, more_box, tile
from bioclip.report.html.section import Section
from bioclip.report.html.text import count_of, number
from bioclip.report.sections.duplicate_images import describe_distance

_DECISIONS = {"kept": "image kept", "label_conflict": "image dropped"}


def images_section(conflicts: ImageConflicts) -> Section:
    """Images whose records name different taxa, and images whose records differ in the verbatim name only."""
    title = "Images under several names"
    parts: list[Markup] = []
    if conflicts.num_differing:
        text = (
            f"{_images(conflicts.num_differing)} with records of different accepted taxa; "
            f"{number(conflicts.num_differing_between_sources)} of them have records of several sources. "
            f"In {number(conflicts.num_differing_near)} an image is a near duplicate only and may show another scene."
        )
        cards = _cards(conflicts.differing, conflicts.num_differing, layout.in_splits(layout.LABEL_CONFLICTS))
        parts += [heading("Different taxa"), note(text), *cards]
    if conflicts.num_agreeing:
        text = (
            f"{_images(conflicts.num_agreeing)} with different verbatim names that have the same accepted name, or of which one is less "
            f"exact or unresolved; {number(conflicts.num_agreeing_between_sources)} of them have records of several sources."
        )
        cards = _cards(conflicts.agreeing, conflicts.num_agreeing, layout.DUPLICATE_GROUPS)
        parts += [heading("Different names, no contradiction"), note(text), *cards]
    absent = "The records of each image agree on its name, or every image has one record."
    return Section("images", title, join(parts) if parts else None, absent)


def _images(count: int) -> str:
    return f"{count_of(count, 'group')} of identical or nearly identical images"


def _cards(shown: tuple[ImageNames, ...], num_all: int, file: str) -> list[Markup]:
    cards = [group("cards", *(_card(image) for image in shown))]
    return [*cards, note(f"{number(num_all - len(shown))} more are in {file}.")] if num_all > len(shown) else cards


def _card(image: ImageNames) -> Markup:
    origins = f"{number(image.num_sources)} sources" if image.num_sources > 1 else "one source"
    headings = [strong(f"{number(image.size)} records"), span(origins, "badge")]
    if image.rank:
        headings.append(span(f"differ at {image.rank}", "badge warning"))
        headings.append(span(_DECISIONS.get(image.decision, image.decision), "badge kept"))
    tiles = [_tile(member, image.rank) for member in image.members]
    return card(headings, [*tiles, more_box(image.size - len(image.members))])


def _tile(member: NamedImage, rank: str) -> Markup:
    similarity = "kept image of the group" if member.kind == "kept" else describe_distance(member.kind, member.distance)
    accepted = span(_accepted(member, rank), "detail" if rank else "")
    lines = [accepted, span(similarity, "badge"), span(name_of(member.photo.source, 30), "credit")]
    return tile(member.photo, *lines, label=member.verbatim_name)


def _accepted(member: NamedImage, rank: str) -> Markup:
    """The accepted name, after the name at the rank of the conflict where the two differ."""
    lowest = next((name for name in reversed(member.lineage) if name), "")
    if not lowest:
        return Markup("unresolved")
    at_rank = member.lineage[RANKS.index(rank)] if rank else ""
    above = [name_of(at_rank, 30), Markup(" › ")] if at_rank and at_rank != lowest else []
    return join([*above, name_of(lowest, 40)])
