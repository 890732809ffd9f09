"""From what somebody holds in hand (a record id, a source's id, a hash, a member's name, an address) to record ids."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bioclip.errors import StorageError
from bioclip.sources.snapshots import list_snapshots
from bioclip.storage import Storage
from bioclip.trace.sight import Sight, find_rows, parts_of

_RECORD_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SOURCE_COLUMNS = ("source_id", "occurrence_id", "media_url")


def find_images(sight: Sight, identifier: str) -> list[str]:
    """Record ids, sorted, of all records that `identifier` means.

    It may be a record id, a shard's key or member (`<record id>.jpg`, with or without a path), the SHA-256 of an image (as it came, as
    stored, or of its pixels), a source's id (`id` or `source:id`), an occurrence id or a media URL. Raises StorageError when nothing in
    sight has it.
    """
    text = identifier.strip()
    last = text.rsplit("/", 1)[-1].lower()
    if match := _RECORD_ID.match(last):
        found = {match[0]} if _is_known(sight, match[0]) else set()
    elif _SHA256.fullmatch(text.lower()):
        found = set(_by_hash(sight, text.lower()))
    else:
        found = set(_by_source(sight, text)) if text else set()
    if not found:
        way = "a record id, a shard's member, the SHA-256 of an image, a source's id (`id` or `source:id`), an occurrence id or a media URL"
        raise StorageError(f"nothing in sight is {identifier!r}: {_where_looked(sight)}. Give {way}.")
    return sorted(found)


def _is_known(sight: Sight, record_id: str) -> bool:
    if sight.release and find_rows(sight.release.storage, "samples.parquet", "record_id", [record_id], ["record_id"]):
        return True
    if sight.workspace is None:
        return False
    return bool(record_files(sight, record_id))


def record_files(sight: Sight, record_id: str) -> list[str]:
    """Files of the workspace that hold the record: of the current snapshots or, where none has it, of past ones, the newest last."""
    if sight.workspace is None:
        return []
    if records := sight.stage("records"):
        current = [name for name in parts_of(records.outputs, record_id) if _holds(sight, name, record_id)]
        if current:
            return current
    sources = sorted({name.split("/")[1] for name in sight.workspace.list("records") if name.count("/") == 3})
    past = [snapshot for source in sources for snapshot in list_snapshots(sight.workspace, source)]
    return [name for snapshot in past for name in parts_of(snapshot.outputs, record_id) if _holds(sight, name, record_id)]


def _holds(sight: Sight, name: str, record_id: str) -> bool:
    return sight.workspace is not None and bool(find_rows(sight.workspace, name, "record_id", [record_id], ["record_id"]))


def _by_hash(sight: Sight, sha256: str) -> Iterator[str]:
    if sight.release:
        storage = sight.release.storage
        for name, column in (("samples.parquet", "sha256"), ("fingerprints.parquet", "sha256"), ("fingerprints.parquet", "pixel_sha256")):
            yield from (row["record_id"] for row in find_rows(storage, name, column, [sha256], ["record_id"]))
    if sight.workspace and (images := sight.stage("images")):
        for output in images.outputs:
            for column in ("sha256", "original_sha256", "pixel_sha256"):
                yield from (row["record_id"] for row in find_rows(sight.workspace, output.name, column, [sha256], ["record_id"]))


def _by_source(sight: Sight, text: str) -> Iterator[str]:
    source, _, own_id = text.partition(":")
    for storage, name in _source_tables(sight):
        for column in _SOURCE_COLUMNS:
            yield from (row["record_id"] for row in find_rows(storage, name, column, [text], ["record_id"]))
        if own_id:
            found = find_rows(storage, name, "source_id", [own_id], ["record_id", "source"])
            yield from (row["record_id"] for row in found if row["source"] == source)
    if sight.release:  # TreeOfLife-200M's form of an EOL id: content and page
        yield from (row["uuid"] for row in find_rows(sight.release.storage, "catalog.parquet", "source_id", [text], ["uuid"]))


def _source_tables(sight: Sight) -> Iterator[tuple[Storage, str]]:
    if sight.release:
        yield sight.release.storage, "samples.parquet"
    if sight.workspace and (records := sight.stage("records")):
        for output in records.outputs:
            yield sight.workspace, output.name


def _where_looked(sight: Sight) -> str:
    places = []
    if sight.release:
        manifest = sight.release.manifest
        places.append(f"release {sight.release.version} considered {manifest['counts']['release']['read']:,} images")
    if sight.workspace and (records := sight.stage("records")):
        counts = records.counts
        dropped = ", ".join(f"{reason} {number:,}" for reason, number in sorted(counts.dropped.items()))
        places.append(
            f"the workspace holds {counts.written:,} records" + (f"; dropped while reading, and only counted: {dropped}" if dropped else "")
        )
    return "; ".join(places) or "there is neither a release nor a workspace with records"
