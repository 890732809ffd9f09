"""Photographs of the release's table that a page shows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
    """A photo from a row of PHOTO_COLUMNS, without thumbnail; links to `page_url`, else an occurrence id that is a URL, else the media."""
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
        page_url=page_url or (row["occurrence_id"] if row["occurrence_id"].startswith(("http://", "https://")) else row["media_url"]),
    )


def read_photos(release: Release, wanted: Collection[str]) -> dict[str, Photo]:
    """Record id -> photo without thumbnail, for those of `wanted` that are in the release's table.

    A photo links to the provider's page in attribution.parquet, else to an occurrence id that is a URL, else to the media.
    """
    pages: dict[str, str] = {}
    if release.storage.exists(layout.ATTRIBUTION):
        rows = read_matching_rows(release.storage, layout.ATTRIBUTION, "record_id", wanted, _ATTRIBUTION_COLUMNS)
        pages = {row["record_id"]: row["occurrence_url"] for row in rows.to_pylist()}
    found = read_matching_rows(release.storage, layout.SAMPLES, "record_id", wanted, PHOTO_COLUMNS).to_pylist()
    return {row["record_id"]: photo_of(row, pages.get(row["record_id"], "")) for row in found}
