"""The page of `treeoflife dataset duplicates`: groups side by side, the kept picture first."""

from __future__ import annotations

from itertools import groupby

import pyarrow as pa

from bioclip.duplicates.collection import CollectionDuplicates
from bioclip.report.data.report_data import DuplicateGroup, DuplicateMember
from bioclip.report.data.samples.sample_summary import Photo, Thumbnail
from bioclip.report.data.samples.thumbnails import shrink_image
from bioclip.report.html.components import group, note, table
from bioclip.report.html.templates import render_page
from bioclip.report.html.text import number, plain
from bioclip.report.sections.duplicate_images import KEEPING_RULE, group_card

MAX_MEMBERS = 8
_ORDER = ("duplicate_near", "duplicate_pixels", "duplicate_bytes")


def render_gallery(name: str, found: CollectionDuplicates, radius: int, max_groups: int) -> bytes:
    """The page as UTF-8. At most `max_groups` groups are shown: differing labels first, then near duplicates, then large groups."""
    groups, counts = _ranked(found.groups), found.counts
    shown = [_card_data(rows, found) for rows in groups[:max_groups]]
    rows = [("images", counts.read), *counts.dropped.items(), *((what, value) for what, value in counts.notes.items() if value)]
    summary = table("Pictures read", ("", "Number"), [(what.replace("_", " "), number(value)) for what, value in rows], numeric=[1])
    rule = note(f"A group holds the kept picture and those within {radius} bits of its pHash. Kept: {KEEPING_RULE}.")
    parts = [rule, group("cards", *map(group_card, shown))] if groups else [note("No duplicates were found.")]
    if num_more := len(groups) - len(shown):
        parts.append(note(f"{number(num_more)} more groups are in groups.parquet."))
    title = f"Duplicates of {plain(name)}"
    return render_page("duplicates.html", title=title, name=name, sections=[], summary=summary, groups=parts)


def _ranked(groups: pa.Table) -> list[list[dict[str, object]]]:
    rows = groups.to_pylist()
    members_of_groups = [list(members) for _, members in groupby(rows, key=lambda row: row["kept_record_id"])]

    def precedence(members: list[dict[str, object]]) -> tuple[bool, int, int, str]:
        labels = {row["label"] for row in members if row["label"]}
        kinds = [_ORDER.index(str(row["kind"])) for row in members if row["kind"] in _ORDER]
        return len(labels) < 2, min(kinds, default=0), -len(members), str(members[0]["kept_record_id"])

    return sorted(members_of_groups, key=precedence)


def _card_data(rows: list[dict[str, object]], found: CollectionDuplicates) -> DuplicateGroup:
    kept_first = sorted(rows, key=lambda row: (row["kind"] != "kept", row["distance"], row["record_id"]))
    members = tuple(DuplicateMember(_photo(row, found), str(row["kind"]), int(str(row["distance"]))) for row in kept_first[:MAX_MEMBERS])
    return DuplicateGroup(str(rows[0]["kept_record_id"]), len(rows), members)


def _photo(row: dict[str, object], found: CollectionDuplicates) -> Photo:
    record_id, width, height = str(row["record_id"]), int(str(row["width"] or 0)), int(str(row["height"] or 0))
    thumbnail = None
    if width:  # the image itself was read, not a hash that the collection states
        position = found.collection.table["item_id"].index(record_id).as_py()
        thumbnail = Thumbnail(shrink_image(found.collection.read_image(position)), width, height)
    label, source, license_ = (str(row[name]) for name in ("label", "source", "license"))
    return Photo(record_id, label, "species", source or record_id, license_, "", "", width, height, "", "", "", thumbnail)
