"""Examples of everything that was dropped, by reason."""

from __future__ import annotations

from markupsafe import Markup

from bioclip.local_media import is_local
from bioclip.report.data.report_data import ReportData
from bioclip.report.data.samples.sample_summary import DropGroup, FailedMedia, Photo
from bioclip.report.html.components import code, explain_reason, group, join, link, name_of, note, span, strong
from bioclip.report.html.photographs import card, empty_tile, more_box, tile
from bioclip.report.html.section import Section
from bioclip.report.html.text import number
from bioclip.report.sections.duplicate_images import KIND_TITLES


def dropped_section(data: ReportData) -> Section:
    """Examples of every drop reason; photographs where the image could be decoded."""
    title, groups = "Dropped images", [*data.failed, *data.samples.drops]
    if not groups:
        return Section("dropped", title, None, "No media and no image was dropped.")
    shown_above = [drop for drop in data.samples.drops if drop.reason in KIND_TITLES and data.duplicates is not None]
    intro = note("Examples are the images with the smallest record ids: the same on every run, and random with respect to content.")
    parts = [intro, group("cards", *(_drop_card(drop) for drop in groups if drop not in shown_above))]
    if shown_above:
        num_duplicates = sum(drop.count for drop in shown_above)
        parts.append(note(f"Another {number(num_duplicates)} images are duplicates; examples are in the section on duplicate images."))
    return Section("dropped", title, join(parts))


def _drop_card(drop: DropGroup) -> Markup:
    step = "during download" if drop.step == "download" else "in the release"
    tiles = [_dropped_tile(drop, photo) for photo in drop.photos] + [_failed_tile(failed) for failed in drop.failed]
    heading = [code(name_of(drop.reason)), strong(number(drop.count)), span(step, "unit")]
    return card(heading, [*tiles, more_box(drop.count - len(tiles))], explain_reason(drop.reason))


def _dropped_tile(drop: DropGroup, photo: Photo) -> Markup:
    """The image, with its counterpart if it was dropped because of another image."""
    if (other := drop.counterparts.get(photo.record_id)) is None:
        return _photo_tile(photo)
    relation = span(other.relation, "badge")
    if other.photo is not None:
        counterpart = tile(other.photo, relation, class_="tile is-kept")
    else:
        counterpart = empty_tile("", "not an image of this release", code(name_of(other.record_id, 14)), relation)
    return group("pair", tile(photo), counterpart)


def _photo_tile(photo: Photo) -> Markup:
    detail = [span(name_of(photo.drop_detail, 90), "detail")] if photo.drop_detail not in {"", photo.label} else []
    return tile(photo, *detail)


def _failed_tile(failed: FailedMedia) -> Markup:
    status = f"HTTP {failed.http_status}" if failed.http_status else "no file" if is_local(failed.media_url) else "no answer"
    attempts = f"after {number(failed.attempts)} attempts" if failed.attempts > 1 else ""
    detail = [span(name_of(failed.detail, 90), "detail")] if failed.detail else []
    if not failed.page_url:
        return empty_tile(status, attempts, *detail, span(link(failed.media_url, 46), "credit"))
    address = name_of(failed.media_url.split("://", 1)[-1], 46)
    return empty_tile(
        status, attempts, *detail, span(address, "credit"), span(link(failed.page_url, shown=Markup("source page")), "credit")
    )
