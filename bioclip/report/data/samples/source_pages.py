"""The provider's pages of images that the release's own tables do not describe: images that were dropped, and media without an image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from bioclip import layout
from bioclip.parquet import read_matching_rows
from bioclip.partitions import StageManifest
from bioclip.records import partition_of
from bioclip.report.data.samples.sample_summary import DropGroup, Photo
from bioclip.storage import Storage

_COLUMNS = ["record_id", "references"]


def find_pages(storage: Storage, records: StageManifest | None, photos: Mapping[str, Photo], failed: Iterable[DropGroup]) -> dict[str, str]:
    """Record id -> page, of the photos without one and of the media without an image."""
    lacking = {key for key, photo in photos.items() if not photo.page_url}
    return read_source_pages(storage, records, lacking | {media.record_id for drop in failed for media in drop.failed})


def read_source_pages(storage: Storage, records: StageManifest | None, wanted: Collection[str]) -> dict[str, str]:
    """Record id -> the page that its provider states, for those of `wanted` that have one; of the records only the partitions that hold
    them are read."""
    parts: defaultdict[int, list[str]] = defaultdict(list)
    for output in records.outputs if records else ():
        if (number := layout.part_number(output.name)) is not None and storage.exists(output.name):
            parts[number].append(output.name)
    asked: defaultdict[int, set[str]] = defaultdict(set)
    for identifier in wanted if parts else ():
        asked[partition_of(identifier, len(parts))].add(identifier)
    pages: dict[str, str] = {}
    for number, identifiers in sorted(asked.items()):
        for name in parts[number]:
            rows = read_matching_rows(storage, name, "record_id", identifiers, _COLUMNS).to_pylist()
            pages |= {row["record_id"]: row["references"] for row in rows if row["references"]}
    return pages
