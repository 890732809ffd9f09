"""Photographs of the release's table that a page shows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from bioclip import layout
from bioclip.captions import scientific_name
from bioclip.parquet import read_matching_rows
from bioclip.records import RANKS
from bioclip.releases import Release
from bioclip.report.data.samples.sample_summary import Photo

PHOTO_COLUMNS = [
    "record_id",
    "split",
    "drop_reason",
    "drop_detail",
    "width",
    "height",
    *RANKS,
    "resolved_rank",
    "source",
    "occurrence_id",
    "media_url",
    "license",
    "rights_holder",
    "creator",
    "verbatim_name",
]
_ATTRIBUTION_COLUMNS = ["record_id", "occurrence_url"]


def photo_of(row: Mapping[str, Any], page_url: str = "") -> Photo:
    """A photo from a row of PHOTO_COLUMNS, without thumbnail; its page is `page_url`, else an occurrence id that is a URL."""
    return Photo(
        record_id=row["record_id"],
        label=scientific_name(row) or row["verbatim_name"],
        resolved_rank=row["resolved_rank"],
        source=row["source"],
        license=row["license"],
        credit=row["creator"] or row["rights_holder"],
        media_url=row["media_url"],
        width=row["width"],
        height=row["height"],
        split=row["split"],
        drop_reason=row["drop_reason"],
        drop_detail=row["drop_detail"],
        page_url=page_url or (row["occurrence_id"] if row["occurrence_id"].startswith(("http://", "https://")) else ""),
    )


def read_photos(release: Release, wanted: Collection[str]) -> dict[str, Photo]:
    """Record id -> photo without thumbnail, for those of `wanted` that are in the release's table.

    `page_url` is that of attribution.parquet, which has the samples only, else an occurrence id that is a URL.
    """
    pages: dict[str, str] = {}
    if release.storage.exists(layout.ATTRIBUTION):
        rows = read_matching_rows(release.storage, layout.ATTRIBUTION, "record_id", wanted, _ATTRIBUTION_COLUMNS)
        pages = {row["record_id"]: row["occurrence_url"] for row in rows.to_pylist()}
    found = read_matching_rows(release.storage, layout.SAMPLES, "record_id", wanted, PHOTO_COLUMNS).to_pylist()
    return {row["record_id"]: photo_of(row, pages.get(row["record_id"], "")) for row in found}


def add_pages(photos: Mapping[str, Photo], pages: Mapping[str, str]) -> dict[str, Photo]:
    """The photos, those without a page with the one that `pages` has for their record id."""
    return {key: photo if photo.page_url else replace(photo, page_url=pages.get(key, "")) for key, photo in photos.items()}
