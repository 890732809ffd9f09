"""Sections with photographs: duplicates side by side, and what was dropped."""

from __future__ import annotations

import base64

from bioclip.licenses import is_allowed, license_url
from bioclip.report.data.report_data import DuplicateGroup, DuplicateMember, ReportData
from bioclip.report.data.samples import DropGroup, FailedMedia, Photo
from bioclip.report.html.markup import Markup, element, join, link, name_of, number, plain, shorten
from bioclip.report.sections.funnel import reason_list
from bioclip.report.sections.section import Section, absence, note

KIND_TITLES = {"duplicate_bytes": "same bytes", "duplicate_pixels": "same pixels", "duplicate_near": "near"}
KEEPING_RULE = "most pixels, then a redistributable licence, then a label down to species, then the smaller record id"


def picture(photo: Photo) -> Markup:
    """The thumbnail, or a tile that says that there is none."""
    label = shorten(plain(photo.label) or "unlabelled", 80)
    if photo.thumbnail is None:
        return element("div", "no preview", class_="placeholder")
    data = base64.b64encode(photo.thumbnail.jpeg).decode()
    return element("img", src=f"data:image/jpeg;base64,{data}", alt=f"Photograph labelled {label}", loading="lazy")


def credit_line(photo: Photo) -> Markup:
    """Who made the photograph and under which licence."""
    credit = [element("span", name_of(photo.credit, 48), class_="credit")] if photo.credit else []
    terms = link(license_url(photo.license), shown=name_of(photo.license or "no licence stated", 40))
    return join([*credit, element("span", terms, class_="credit licence")])


def tile(photo: Photo, *lines: str, class_: str = "tile") -> Markup:
    """A photograph with its label, which leads to the provider's page, the given lines and its credit."""
    style = None if photo.resolved_rank not in {"genus", "species"} else "taxon"
    label = element("strong", link(photo.page_url, shown=name_of(photo.label or "(no name)", 40)), class_=style)
    return element("figure", picture(photo), element("figcaption", label, *lines, credit_line(photo)), class_=class_)


def specimens(data: ReportData) -> Markup:
    """A row of samples, each of another order; empty when there is none with a picture."""
    tiles = [tile(photo) for photo in data.samples.specimens if photo.thumbnail is not None]
    return element("div", *tiles, class_="tiles specimens", aria_label="Some of the samples") if tiles else Markup("")


def sheets_section(data: ReportData) -> Section:
    """Random samples of each split."""
    title, shown = "Random samples of each split", [split for split in data.samples.splits if split.sheet]
    if not shown:
        return Section("sheets", title, None, "This release holds no samples to look at.")
    parts = [note("Drawn at random from each split, seeded by the release's version: a rerun shows the same. A name leads to its source.")]
    for split in shown:
        said = element("span", f" {number(len(split.sheet))} of {number(split.num_images)}", class_="unit")
        tiles = element("div", *map(tile, split.sheet), class_="tiles sheet")
        parts += [element("h3", element("code", name_of(split.split)), said), tiles]
    return Section("sheets", title, join(parts), "")


def duplicates_section(data: ReportData) -> Section:
    """Counts of groups, and a few of each kind with the kept image first."""
    title, duplicates = "Duplicate images", data.duplicates
    if duplicates is None:
        return Section("duplicates", title, None, absence(data, "duplicates", "Duplicates have not been looked for in this workspace yet."))
    if not duplicates.num_groups:
        return Section("duplicates", title, None, "Duplicates were looked for and none were found.")
    kinds = {kind: count for kind, count in duplicates.kinds.items() if kind != "kept"}
    sizes = ", ".join(f"{number(groups)} of {number(size)}" for size, groups in list(duplicates.sizes.items())[:8])
    summary = note(
        f"{number(duplicates.num_images)} images form {number(duplicates.num_groups)} groups ({sizes}"
        f"{', …' if len(duplicates.sizes) > 8 else ''} images); one of each is kept: {KEEPING_RULE}."
    )
    cards = element("div", *(group_card(group) for group in duplicates.shown), class_="cards")
    left_out = duplicates.num_groups - len(duplicates.shown)
    more = note(f"{number(left_out)} more groups are in duplicates/groups.parquet.") if left_out else ""
    return Section("duplicates", title, join([summary, reason_list(kinds), cards, more]), "")


def group_card(group: DuplicateGroup) -> Markup:
    """A group side by side: distances, labels, and why one is kept."""
    heading = [element("strong", f"{number(group.size)} images"), element("code", group.group_id[:8])]
    if len(group.labels) > 1:
        heading.insert(1, element("span", f"{len(group.labels)} different labels", class_="badge warning"))
    tiles = [_member_tile(group, member) for member in group.members]
    if (left_out := group.size - len(group.members)) > 0:
        tiles.append(element("div", f"{number(left_out)} more", class_="placeholder"))
    return element("article", element("header", *heading), element("div", *tiles, class_="tiles"), class_="card")


def _member_tile(group: DuplicateGroup, member: DuplicateMember) -> Markup:
    photo = member.photo
    if member.kind == "kept":
        lines = [element("span", f"kept: {_reason_kept(group, member)}", class_="badge kept")]
    else:
        lines = [element("span", f"{KIND_TITLES.get(member.kind, member.kind)}, {member.distance} bits", class_="badge")]
    size = f"{photo.thumbnail.original_width} × {photo.thumbnail.original_height} px, " if photo.thumbnail else ""
    origin = element("span", size, name_of(photo.source, 30), class_="credit")
    return tile(photo, *lines, origin, class_="tile is-kept" if member.kind == "kept" else "tile")


def _reason_kept(group: DuplicateGroup, kept: DuplicateMember) -> str:
    others = [member.photo for member in group.members if member is not kept]
    sizes = [_area(photo) for photo in others]
    if group.size != len(group.members) or None in sizes or not others:
        return "first by the rule"
    rivals = [photo for photo in others if _area(photo) == _area(kept.photo)]
    if not rivals:
        return "most pixels"
    if is_allowed(kept.photo.license, ("open",)) and not any(is_allowed(photo.license, ("open",)) for photo in rivals):
        return "open licence"
    return "tie, by label or id"


def _area(photo: Photo) -> int | None:
    return photo.thumbnail.original_width * photo.thumbnail.original_height if photo.thumbnail else None


def dropped_section(data: ReportData) -> Section:
    """Examples of everything left out, by reason; photographs where the image could be decoded."""
    groups = [*data.failed, *data.samples.drops]
    shown_above = [group for group in data.samples.drops if group.reason in KIND_TITLES and data.duplicates is not None]
    if not groups:
        return Section("dropped", "Left out", None, "No media and no image was left out.")
    intro = note("Examples are those with the smallest record ids: the same on every run, and random with respect to content.")
    cards = element("div", *(_drop_card(group) for group in groups if group not in shown_above), class_="cards")
    num_duplicates = sum(group.count for group in shown_above)
    above = note(f"Another {number(num_duplicates)} images are duplicates; examples are shown above.") if shown_above else ""
    return Section("dropped", "Left out", join([intro, cards, above]), "")


def _drop_card(group: DropGroup) -> Markup:
    step = "while downloading" if group.step == "download" else "while releasing"
    tiles = [_dropped_tile(group, photo) for photo in group.photos] + [_failed_tile(failed) for failed in group.failed]
    heading = [element("code", name_of(group.reason)), element("strong", number(group.count)), element("span", step, class_="unit")]
    if (left_out := group.count - len(tiles)) > 0:
        tiles.append(element("div", f"{number(left_out)} more", class_="placeholder more"))
    return element("article", element("header", *heading), element("div", *tiles, class_="tiles"), class_="card")


def _dropped_tile(group: DropGroup, photo: Photo) -> Markup:
    """The image, and beside it the one that it collides with where it is a pair."""
    if (other := group.counterparts.get(photo.record_id)) is None:
        return _photo_tile(photo)
    relation = element("span", other.relation, class_="badge")
    if other.photo is not None:
        beside = tile(other.photo, relation, class_="tile is-kept")
    else:
        words = element("div", "not an image of this release", class_="placeholder")
        beside = element("figure", words, element("figcaption", element("code", name_of(other.record_id, 14)), relation), class_="tile")
    return element("div", tile(photo), beside, class_="pair")


def _photo_tile(photo: Photo) -> Markup:
    detail = [element("span", name_of(photo.drop_detail, 90), class_="detail")] if photo.drop_detail not in {"", photo.label} else []
    return tile(photo, *detail)


def _failed_tile(failed: FailedMedia) -> Markup:
    status = f"HTTP {failed.http_status}" if failed.http_status else "no answer"
    attempts = f"after {number(failed.attempts)} attempts" if failed.attempts > 1 else ""
    placeholder = element("div", element("strong", status), attempts, class_="placeholder")
    lines = [element("span", name_of(failed.detail, 90), class_="detail")] if failed.detail else []
    return element(
        "figure", placeholder, element("figcaption", *lines, element("span", link(failed.media_url, 46), class_="credit")), class_="tile"
    )
