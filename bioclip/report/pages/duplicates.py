"""The page of `treeoflife duplicates`: groups side by side, the kept picture first."""

from __future__ import annotations

from itertools import groupby

import pyarrow as pa

from bioclip.duplicates.collection_duplicates import Inspection
from bioclip.report.data.report_data import DuplicateGroup, DuplicateMember
from bioclip.report.data.samples import Photo, Thumbnail
from bioclip.report.data.thumbnails import shrink_image
from bioclip.report.html.markup import element, join, number, plain, table
from bioclip.report.pages.release import render_document
from bioclip.report.sections.galleries import KEEPING_RULE, group_card
from bioclip.report.sections.section import note

MAX_MEMBERS = 8
_ORDER = ("duplicate_near", "duplicate_pixels", "duplicate_bytes")


def render_gallery(name: str, inspection: Inspection, radius: int, max_groups: int) -> bytes:
    """The page as UTF-8. Of more than `max_groups` groups those are shown that deserve a look first: differing labels, then wide ones."""
    groups = _ranked(inspection.groups)
    shown = [_card_data(rows, inspection) for rows in groups[:max_groups]]
    counts = inspection.counts
    rows = [("pictures", counts.read), *counts.dropped.items(), *((what, value) for what, value in counts.notes.items() if value)]
    summary = table("What was looked at", ("", "Number"), [(what.replace("_", " "), number(value)) for what, value in rows], numeric=[1])
    rule = note(f"A group is a star around the picture that is kept, pHash distance at most {radius} bits. Kept: {KEEPING_RULE}.")
    left_out = len(groups) - len(shown)
    more = note(f"{number(left_out)} more groups are in groups.parquet.") if left_out else ""
    cards = element("div", *(group_card(group) for group in shown), class_="cards")
    body = element("section", rule, cards, more) if groups else element("section", note("No duplicates were found."))
    header = element("header", element("p", "Duplicates", class_="kicker"), element("h1", plain(name)), class_="top")
    return render_document(f"Duplicates of {plain(name)}", header, element("main", element("section", summary), body, id="main"))


def _ranked(groups: pa.Table) -> list[list[dict[str, object]]]:
    rows = groups.to_pylist()
    found = [list(members) for _, members in groupby(rows, key=lambda row: row["kept_record_id"])]

    def weight(members: list[dict[str, object]]) -> tuple[bool, int, int, str]:
        labels = {row["label"] for row in members if row["label"]}
        kinds = [_ORDER.index(str(row["kind"])) for row in members if row["kind"] in _ORDER]
        return len(labels) < 2, min(kinds, default=0), -len(members), str(members[0]["kept_record_id"])

    return sorted(found, key=weight)


def _card_data(rows: list[dict[str, object]], inspection: Inspection) -> DuplicateGroup:
    kept_first = sorted(rows, key=lambda row: (row["kind"] != "kept", row["distance"], row["record_id"]))
    members = tuple(
        DuplicateMember(_photo(row, inspection), str(row["kind"]), int(str(row["distance"]))) for row in kept_first[:MAX_MEMBERS]
    )
    return DuplicateGroup(str(rows[0]["kept_record_id"]), len(rows), members)


def _photo(row: dict[str, object], inspection: Inspection) -> Photo:
    record_id, width, height = str(row["record_id"]), int(str(row["width"] or 0)), int(str(row["height"] or 0))
    picture = inspection.pictures[record_id]
    thumbnail = None
    if picture.read is not None:
        thumbnail = Thumbnail(shrink_image(picture.read()), width, height)
    origin = join([picture.source or record_id])
    return Photo(record_id, picture.label, "species", origin, picture.license, "", "", width, height, "", "", "", thumbnail)
