"""What decided a failed outcome outside its partition's key: operational settings, and the files of local media.

A partition's key leaves out where media are and how servers are reached, since none of these change an image. They do decide whether
there is one. The ledger keeps what they were, and a failed outcome is requested again when what decided it has changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip.digests import digest_value
from bioclip.download.outcomes import RETRY_LATER, SUCCESS
from bioclip.local_media import NO_FILE, is_local, local_media_state
from bioclip.settings import DownloadSettings
from bioclip.storage import Storage
from bioclip.withdrawals import WITHDRAWN

CIRCUMSTANCES_KEY = b"treeoflife.circumstances"
"""Metadata of a ledger: JSON of `settings` (name -> digest of the value) and `media_roots` (digests) when the ledger was written."""
_ROUTE = ("connect_to", "allow_networks", "ca_file")
DECIDED_BY: dict[str, tuple[str, ...]] = {
    "address_refused": _ROUTE,
    "certificate_refused": _ROUTE,
    "connection_failed": _ROUTE,
    "name_not_resolved": _ROUTE,
    "response_malformed": _ROUTE,
    "timeout": (*_ROUTE, "timeout_s"),
    "host_paused": (*_ROUTE, "timeout_s", "hosts", "pause_host_after", "host_pause_s", "requests_per_second_per_host"),
    "robots_disallowed": ("connect_to", "user_agent"),
    "robots_unreachable": (*_ROUTE, "timeout_s"),
    "http_403": ("connect_to", "user_agent"),
    "http_429": ("user_agent", "hosts", "requests_per_second_per_host", "concurrency_per_host"),
}
"""Reason of a failed outcome -> the operational settings of `download` that decide it."""
_SETTINGS = sorted({name for names in DECIDED_BY.values() for name in names})
_COLUMNS = ["record_id", "media_url", "status", "reason", "etag"]


def ledger_metadata(settings: DownloadSettings, media_roots: Iterable[str]) -> dict[bytes, bytes]:
    """Metadata of a ledger that is written under these settings and media roots."""
    stated = {"settings": _digests(settings), "media_roots": sorted({digest_value(root) for root in media_roots})}
    return {CIRCUMSTANCES_KEY: json.dumps(stated).encode()}


class Circumstances:
    """The circumstances of a ledger, compared with those of today.

    A ledger that states none was written before they were kept: its failed outcomes are requested again once.
    """

    def __init__(self, metadata: Mapping[bytes, bytes] | None, settings: DownloadSettings) -> None:
        stated = json.loads((metadata or {}).get(CIRCUMSTANCES_KEY, b"{}"))
        known = stated.get("settings", {})
        self._changed = {name for name, digest in _digests(settings).items() if known.get(name) != digest}
        self._roots: list[str] | None = stated.get("media_roots")
        self._retry_failed = settings.retry_failed

    def is_outdated(self, outcome: Mapping[str, Any], media_root: str) -> bool:
        """True when the URL of an outcome is requested again, since a setting or the local file that decided it has changed.

        An image of a local file is read again where the media root has changed and holds another file. With `retry_failed` every local
        file without an image is read again.
        """
        if outcome["reason"] == WITHDRAWN:
            return False
        if not is_local(outcome["media_url"]):
            return outcome["status"] != SUCCESS and not self._changed.isdisjoint(DECIDED_BY.get(outcome["reason"], ()))
        if outcome["status"] != SUCCESS:
            return self._retry_failed or outcome["etag"] != local_media_state(outcome["media_url"], media_root)
        if not self.is_moved(media_root):
            return False
        return local_media_state(outcome["media_url"], media_root) not in {outcome["etag"], *NO_FILE}

    def is_moved(self, media_root: str) -> bool:
        """True for a media root that the ledger does not state among its own."""
        return bool(media_root) and self._roots is not None and digest_value(media_root) not in self._roots


def has_outdated(storage: Storage, ledger: str, records: list[str], settings: DownloadSettings, media_roots: Mapping[str, str]) -> bool:
    """True when a partition's ledger has an outcome to request again; `records` are the names of its record files."""
    if not storage.exists(ledger):
        return False
    with storage.reader(ledger) as stream:
        file = pq.ParquetFile(stream)
        if not set(_COLUMNS) <= set(file.schema_arrow.names):
            return False
        circumstances = Circumstances(file.schema_arrow.metadata, settings)
        table = file.read(columns=_COLUMNS)
    if not any(circumstances.is_moved(root) for root in media_roots.values()):
        table = table.filter(pc.not_equal(table["status"], SUCCESS))
    rows = table.to_pylist()
    if settings.retry_failed and any(row["status"] == RETRY_LATER for row in rows):
        return True
    roots = _roots_of(storage, records, media_roots) if any(is_local(row["media_url"]) for row in rows) else {}
    return any(circumstances.is_outdated(row, roots.get(row["record_id"], "")) for row in rows)


def _roots_of(storage: Storage, records: list[str], media_roots: Mapping[str, str]) -> dict[str, str]:
    return {record_id: media_roots.get(source, "") for name in records for record_id, source in _sources(storage, name)}


def _sources(storage: Storage, name: str) -> Iterator[tuple[str, str]]:
    with storage.reader(name) as stream:
        table = pq.read_table(stream, columns=["record_id", "source"])
    yield from zip(table["record_id"].to_pylist(), table["source"].to_pylist(), strict=True)


def _digests(settings: DownloadSettings) -> dict[str, str]:
    return {name: digest_value(settings.model_dump(mode="json", include={name})) for name in _SETTINGS}
