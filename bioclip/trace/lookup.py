"""From an identifier of any kind (record id, source's id, hash, member of a tar, URL) to record ids."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.errors import StorageError
from bioclip.sources.snapshots import list_snapshots
from bioclip.storage import Storage
from bioclip.trace.scope import Scope, find_rows, parts_of

_RECORD_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SOURCE_COLUMNS = ("source_id", "occurrence_id", "media_url")


def find_images(scope: Scope, identifier: str, everywhere: bool = False) -> list[str]:
    """Record ids, sorted, of all records that `identifier` means.

    It may be a record id, a shard's key or member (`<record id>.jpg`, with or without a path), the SHA-256 of an image (as downloaded, as
    stored, or of its pixels), a source's id (`id` or `source:id`), an occurrence id, a media URL, the path or name of a local file, or a
    value of a further column of the user's table. An identifier that the current tables
    lack is looked up in the workspace's other releases, in evaluated.parquet and in withdrawal lists; with `everywhere` it always is.
    Raises StorageError when it is not found.
    """
    text = identifier.strip()
    last = text.rsplit("/", 1)[-1].lower()
    if match := _RECORD_ID.match(last):
        found = {match[0]} if _is_known(scope, match[0]) else set()
    else:
        now, formerly = (_by_hash, _by_former_hash) if _SHA256.fullmatch(text.lower()) else (_by_source, _by_former_source)
        text = text.lower() if now is _by_hash else text
        found = set(now(scope, text)) if text else set()
        if text and (everywhere or not found):
            found |= set(formerly(scope, text))
        if text and not found and now is _by_source:
            found = set(_by_own_table(scope, text))
    if not found:
        way = "a record id, a shard's member, the SHA-256 of an image, a source's id (`id` or `source:id`), an occurrence id or a media URL"
        raise StorageError(f"{identifier!r} not found: {_where_looked(scope)}. Give {way}.")
    return sorted(found)


def _is_known(scope: Scope, record_id: str) -> bool:
    if scope.release and find_rows(scope.release.storage, layout.SAMPLES, "record_id", [record_id], ["record_id"]):
        return True
    if scope.workspace and record_files(scope, record_id):
        return True
    if record_id in scope.withdrawals.record_ids:
        return True
    return any(find_rows(storage, name, "record_id", [record_id], ["record_id"]) for storage, name in _former_tables(scope))


def _former_tables(scope: Scope) -> Iterator[tuple[Storage, str]]:
    """Tables that may have images which the release and the workspace's current tables lack."""
    if scope.release:
        yield scope.release.storage, layout.EVALUATED
    for other in scope.other_releases:
        yield other.storage, layout.SAMPLES
        yield other.storage, layout.EVALUATED


def record_files(scope: Scope, record_id: str) -> list[str]:
    """Files of the workspace with the record: of the current snapshots or, where none has it, of past ones, newest last."""
    if scope.workspace is None:
        return []
    if records := scope.stage("records"):
        current = [name for name in parts_of(records.outputs, record_id) if _holds(scope, name, record_id)]
        if current:
            return current
    sources = sorted({name.split("/")[1] for name in scope.workspace.list("records") if name.count("/") == 3})
    past = [snapshot for source in sources for snapshot in list_snapshots(scope.workspace, source)]
    return [name for snapshot in past for name in parts_of(snapshot.outputs, record_id) if _holds(scope, name, record_id)]


def _holds(scope: Scope, name: str, record_id: str) -> bool:
    return scope.workspace is not None and bool(find_rows(scope.workspace, name, "record_id", [record_id], ["record_id"]))


def _by_hash(scope: Scope, sha256: str) -> Iterator[str]:
    if scope.release:
        storage = scope.release.storage
        for name, column in ((layout.SAMPLES, "sha256"), (layout.FINGERPRINTS, "sha256"), (layout.FINGERPRINTS, "pixel_sha256")):
            yield from (row["record_id"] for row in find_rows(storage, name, column, [sha256], ["record_id"]))
    if scope.workspace and (images := scope.stage("images")):
        for output in images.outputs:
            for column in ("sha256", "original_sha256", "pixel_sha256"):
                yield from (row["record_id"] for row in find_rows(scope.workspace, output.name, column, [sha256], ["record_id"]))
            ledger = layout.outcomes_of(output.name)  # has images that were refused for this hash
            yield from (row["record_id"] for row in find_rows(scope.workspace, ledger, "detail", [sha256], ["record_id"]))


def _by_former_hash(scope: Scope, sha256: str) -> Iterator[str]:
    for storage, name in _former_tables(scope):
        for column in ("sha256",) if name == layout.SAMPLES else ("stored_sha256", "sha256", "pixel_sha256"):
            yield from (row["record_id"] for row in find_rows(storage, name, column, [sha256], ["record_id"]))


def _by_former_source(scope: Scope, text: str) -> Iterator[str]:
    for other in scope.other_releases:
        yield from _of_source(other.storage, layout.SAMPLES, text)


def _of_source(storage: Storage, name: str, text: str) -> Iterator[str]:
    source, _, own_id = text.partition(":")
    for column in _SOURCE_COLUMNS:
        yield from (row["record_id"] for row in find_rows(storage, name, column, [text], ["record_id"]))
    if own_id:
        found = find_rows(storage, name, "source_id", [own_id], ["record_id", "source"])
        yield from (row["record_id"] for row in found if row["source"] == source)


def _by_source(scope: Scope, text: str) -> Iterator[str]:
    for storage, name in _source_tables(scope):
        yield from _of_source(storage, name, text)
    if scope.release:  # an EOL id in TreeOfLife-200M's form: content and page
        yield from (row["uuid"] for row in find_rows(scope.release.storage, layout.CATALOG, "source_id", [text], ["uuid"]))


def _by_own_table(scope: Scope, text: str) -> Iterator[str]:
    """Records of the workspace by a local file's path or name, or by a value of a column that fills no field; reads all records."""
    if not (scope.workspace and (records := scope.stage("records"))):
        return
    parts = PurePosixPath(text.replace("\\", "/")).parts
    paths = [quote("/".join(parts[start:]), safe="/") for start in range(len(parts))]
    for output in records.outputs:
        if layout.part_number(output.name) is None:
            continue
        with scope.workspace.reader(output.name) as stream:
            table = pq.read_table(stream, columns=["record_id", "media_url", "verbatim"])
        urls = table["media_url"]
        is_file = pc.is_in(urls, value_set=pa.array([f"local:{path}" for path in paths], pa.string()))
        is_named = pc.match_substring_regex(urls, rf"[/:]{re.escape(paths[0])}$")
        yield from table["record_id"].filter(pc.or_(is_file, is_named)).to_pylist()
        for ids, verbatim in zip(table["record_id"].to_pylist(), table["verbatim"].to_pylist(), strict=True):
            if any(value == text for _, value in verbatim or ()):
                yield ids


def _source_tables(scope: Scope) -> Iterator[tuple[Storage, str]]:
    if scope.release:
        yield scope.release.storage, layout.SAMPLES
    if scope.workspace and (records := scope.stage("records")):
        for output in records.outputs:
            yield scope.workspace, output.name


def _where_looked(scope: Scope) -> str:
    places = []
    if scope.release:
        manifest = scope.release.manifest
        places.append(f"release {scope.release.version} lists {manifest['counts']['release']['read']:,} images")
    if scope.workspace and (records := scope.stage("records")):
        counts = records.counts
        dropped = ", ".join(f"{reason} {number:,}" for reason, number in sorted(counts.dropped.items()))
        places.append(
            f"the workspace has {counts.written:,} records" + (f"; dropped while reading and only counted: {dropped}" if dropped else "")
        )
    return "; ".join(places) or "there is neither a release nor a workspace with records"
