"""From what somebody holds in hand (a record id, a source's id, a hash, a member's name, an address) to record ids."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bioclip import layout
from bioclip.errors import StorageError
from bioclip.sources.snapshots import list_snapshots
from bioclip.storage import Storage
from bioclip.trace.scope import Sight, find_rows, parts_of

_RECORD_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SOURCE_COLUMNS = ("source_id", "occurrence_id", "media_url")


def find_images(sight: Sight, identifier: str, everywhere: bool = False) -> list[str]:
    """Record ids, sorted, of all records that `identifier` means.

    It may be a record id, a shard's key or member (`<record id>.jpg`, with or without a path), the SHA-256 of an image (as it came, as
    stored, or of its pixels), a source's id (`id` or `source:id`), an occurrence id or a media URL. What left is looked up
    in the workspace's other releases, and among what was evaluated on or is listed to leave;
    `everywhere` looks there in any case. Raises StorageError when nothing has it.
    """
    text = identifier.strip()
    last = text.rsplit("/", 1)[-1].lower()
    if match := _RECORD_ID.match(last):
        found = {match[0]} if _is_known(sight, match[0]) else set()
    else:
        now, formerly = (_by_hash, _by_former_hash) if _SHA256.fullmatch(text.lower()) else (_by_source, _by_former_source)
        text = text.lower() if now is _by_hash else text
        found = set(now(sight, text)) if text else set()
        if text and (everywhere or not found):
            found |= set(formerly(sight, text))
    if not found:
        way = "a record id, a shard's member, the SHA-256 of an image, a source's id (`id` or `source:id`), an occurrence id or a media URL"
        raise StorageError(f"nothing in sight is {identifier!r}: {_where_looked(sight)}. Give {way}.")
    return sorted(found)


def _is_known(sight: Sight, record_id: str) -> bool:
    if sight.release and find_rows(sight.release.storage, layout.SAMPLES, "record_id", [record_id], ["record_id"]):
        return True
    if sight.workspace and record_files(sight, record_id):
        return True
    if record_id in sight.takedown.record_ids:
        return True
    return any(find_rows(storage, name, "record_id", [record_id], ["record_id"]) for storage, name in _former_tables(sight))


def _former_tables(sight: Sight) -> Iterator[tuple[Storage, str]]:
    """What remembers images that the shown release and the workspace's tables lack."""
    if sight.release:
        yield sight.release.storage, layout.EVALUATED
    for other in sight.other_releases:
        yield other.storage, layout.SAMPLES
        yield other.storage, layout.EVALUATED


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
        for name, column in ((layout.SAMPLES, "sha256"), (layout.FINGERPRINTS, "sha256"), (layout.FINGERPRINTS, "pixel_sha256")):
            yield from (row["record_id"] for row in find_rows(storage, name, column, [sha256], ["record_id"]))
    if sight.workspace and (images := sight.stage("images")):
        for output in images.outputs:
            for column in ("sha256", "original_sha256", "pixel_sha256"):
                yield from (row["record_id"] for row in find_rows(sight.workspace, output.name, column, [sha256], ["record_id"]))
            ledger = layout.outcomes_of(output.name)  # holds those that were refused for it
            yield from (row["record_id"] for row in find_rows(sight.workspace, ledger, "detail", [sha256], ["record_id"]))


def _by_former_hash(sight: Sight, sha256: str) -> Iterator[str]:
    for storage, name in _former_tables(sight):
        for column in ("sha256",) if name == layout.SAMPLES else ("stored_sha256", "sha256", "pixel_sha256"):
            yield from (row["record_id"] for row in find_rows(storage, name, column, [sha256], ["record_id"]))


def _by_former_source(sight: Sight, text: str) -> Iterator[str]:
    for other in sight.other_releases:
        yield from _of_source(other.storage, layout.SAMPLES, text)


def _of_source(storage: Storage, name: str, text: str) -> Iterator[str]:
    source, _, own_id = text.partition(":")
    for column in _SOURCE_COLUMNS:
        yield from (row["record_id"] for row in find_rows(storage, name, column, [text], ["record_id"]))
    if own_id:
        found = find_rows(storage, name, "source_id", [own_id], ["record_id", "source"])
        yield from (row["record_id"] for row in found if row["source"] == source)


def _by_source(sight: Sight, text: str) -> Iterator[str]:
    for storage, name in _source_tables(sight):
        yield from _of_source(storage, name, text)
    if sight.release:  # TreeOfLife-200M's form of an EOL id: content and page
        yield from (row["uuid"] for row in find_rows(sight.release.storage, layout.CATALOG, "source_id", [text], ["uuid"]))


def _source_tables(sight: Sight) -> Iterator[tuple[Storage, str]]:
    if sight.release:
        yield sight.release.storage, layout.SAMPLES
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
