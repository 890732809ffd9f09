"""Duplicate images: counts of the groups, and a few of each kind side by side."""

from __future__ import annotations

from markupsafe import Markup

from bioclip import layout
from bioclip.licenses import is_allowed
from bioclip.report.data.report_data import DuplicateGroup, DuplicateMember, ReportData
from bioclip.report.data.samples.sample_summary import Photo
from bioclip.report.html.components import code, group, join, name_of, note, reason_list, span, strong
from bioclip.report.html.photographs import card, more_box, tile
from bioclip.report.html.section import Section, explain_absence
from bioclip.report.html.text import count_of, number

KIND_TITLES = {"duplicate_bytes": "same bytes", "duplicate_pixels": "same pixels", "duplicate_near": "near"}
KEEPING_RULE = "most pixels, then a redistributable licence, then a label at species rank, then the smallest record id"


def duplicates_section(data: ReportData) -> Section:
    """Counts of groups, and a few of each kind with the kept image first."""
    title, duplicates = "Duplicate images", data.duplicates
    if duplicates is None:
        return Section(
            "duplicates", title, None, explain_absence(data, "duplicates", "Duplicates have not been searched in this workspace yet.")
        )
    if not duplicates.num_groups:
        return Section("duplicates", title, None, "No duplicates were found.")
    kinds = {kind: count for kind, count in duplicates.kinds.items() if kind != "kept"}
    sizes = ", ".join(f"{number(groups)} of {number(size)}" for size, groups in list(duplicates.sizes.items())[:8])
    summary = note(
        f"{number(duplicates.num_images)} images form {count_of(duplicates.num_groups, 'group')} ({sizes} images). "
        f"One image of each group is kept: {KEEPING_RULE}."
    )
    cards = group("cards", *map(group_card, duplicates.shown))
    parts = [summary, reason_list(kinds), cards]
    if (num_more := duplicates.num_groups - len(duplicates.shown)) > 0:
        parts.append(note(f"{number(num_more)} more groups are in {layout.DUPLICATE_GROUPS}."))
    return Section("duplicates", title, join(parts))


def group_card(duplicates: DuplicateGroup) -> Markup:
    """A group side by side: distances, labels, and why one image is kept."""
    heading = [strong(f"{number(duplicates.size)} images"), code(duplicates.group_id[:8])]
    if len(duplicates.labels) > 1:
        heading.insert(1, span(f"{len(duplicates.labels)} different labels", "badge warning"))
    tiles = [_member_tile(duplicates, member) for member in duplicates.members]
    return card(heading, [*tiles, more_box(duplicates.size - len(duplicates.members))])


def _member_tile(duplicates: DuplicateGroup, member: DuplicateMember) -> Markup:
    photo, is_kept = member.photo, member.kind == "kept"
    state = f"kept: {_reason_kept(duplicates, member)}" if is_kept else describe_distance(member.kind, member.distance)
    size = f"{photo.thumbnail.original_width} × {photo.thumbnail.original_height} px, " if photo.thumbnail else ""
    origin = span(join([Markup("{}").format(size), name_of(photo.source, 30)]), "credit")
    return tile(photo, span(state, "badge kept" if is_kept else "badge"), origin, class_="tile is-kept" if is_kept else "tile")


def describe_distance(kind: str, distance: int) -> str:
    """How an image resembles the kept one of its group, e.g. `near, 4 bits`."""
    return f"{KIND_TITLES.get(kind, kind)}, {distance} bits"


def _reason_kept(duplicates: DuplicateGroup, kept: DuplicateMember) -> str:
    others = [member.photo for member in duplicates.members if member is not kept]
    sizes = [_area(photo) for photo in others]
    if duplicates.size != len(duplicates.members) or None in sizes or not others:
        return "first by the rule"
    rivals = [photo for photo in others if _area(photo) == _area(kept.photo)]
    if not rivals:
        return "most pixels"
    if is_allowed(kept.photo.license, ("open",)) and not any(is_allowed(photo.license, ("open",)) for photo in rivals):
        return "open licence"
    return "tie, by label or id"


def _area(photo: Photo) -> int | None:
    return photo.thumbnail.original_width * photo.thumbnail.original_height if photo.thumbnail else None
