"""Snapshots of a source in a workspace, with the metadata of each.

A snapshot's id is a digest of the source's files. Its records are in `records/<source>/<snapshot>/`;
the stage's manifest names the current ones. `_snapshot.json` states the archive's date and ETag, and the lines of damaged rows;
none of these affects a result.
"""

from __future__ import annotations

import json
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bioclip import layout
from bioclip.digests import digest_value, readable_json
from bioclip.errors import StorageError
from bioclip.partitions import OutputFile, read_manifest
from bioclip.settings import SourceSettings
from bioclip.storage import Storage


@dataclass(frozen=True)
class Snapshot:
    """One snapshot of a source in a workspace; `outputs` are its record partitions, in order of record id."""

    source: str
    snapshot: str
    date: str
    etag: str
    outputs: tuple[OutputFile, ...]


def snapshot_id(digests: Mapping[str, str]) -> str:
    """12 hexadecimal digits over the digests of a source's files by role."""
    return digest_value(dict(digests))[:12]


def write_snapshot(
    storage: Storage, source: SourceSettings, snapshot: str, digests: Mapping[str, str], damaged: Sequence[str] = ()
) -> None:
    """Write `_snapshot.json`, with file, line and rule of `damaged` rows; unchanged content is not rewritten."""
    name = layout.snapshot_file(source.name, snapshot)
    date = source.snapshot_date or archive_date(Path(source.path))
    values: dict[str, Any] = {"source": source.name, "snapshot": snapshot, "digests": dict(digests), "date": date, "etag": source.etag}
    if damaged:
        values["damaged"] = list(damaged)
    data = readable_json(values)
    if not (storage.exists(name) and storage.read_bytes(name) == data):
        storage.write_bytes(name, data)


def archive_date(path: Path) -> str:
    """Day of the newest file inside a zip or tar, as YYYY-MM-DD, or an empty string; taken from the content, not from the file's own
    date."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return "{:04d}-{:02d}-{:02d}".format(*max(info.date_time for info in archive.infolist())[:3])
        if path.is_file() and tarfile.is_tarfile(path):
            with tarfile.open(path, "r:*") as tar:
                return datetime.fromtimestamp(max(member.mtime for member in tar), UTC).date().isoformat()
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, tarfile.TarError):
        return ""
    return ""


def list_snapshots(storage: Storage, source: str) -> list[Snapshot]:
    """The complete snapshots of a source, by date and then by id."""
    names = storage.list(layout.records_dir(source))
    snapshots = {layout.snapshot_of(name)[1] for name in names if name.count("/") == 3}
    complete = [one for one in snapshots if layout.partition_manifest(layout.records_dir(source, one), source) in names]
    found = [read_snapshot(storage, source, one) for one in complete]
    return sorted(found, key=lambda one: (one.date, one.snapshot))


def read_snapshot(storage: Storage, source: str, snapshot: str) -> Snapshot:
    """One snapshot; raises StorageError that lists the existing ones."""
    directory = layout.records_dir(source, snapshot)
    manifest = read_manifest(storage, layout.partition_manifest(directory, source))
    if manifest is None:
        parts = {layout.snapshot_of(name)[1] for name in storage.list(layout.records_dir(source)) if name.count("/") == 3}
        there = ", ".join(sorted(parts)) or "none"
        raise StorageError(f"snapshot {snapshot!r} of source {source!r} is not in {storage.root!r}; available: {there}.")
    values: dict[str, Any] = {}
    if storage.exists(layout.snapshot_file(source, snapshot)):
        values = json.loads(storage.read_bytes(layout.snapshot_file(source, snapshot)))
    return Snapshot(source, snapshot, values.get("date", ""), values.get("etag", ""), manifest.outputs)
