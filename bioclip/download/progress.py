"""The known outcomes of a partition's records, and the URLs to request."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bioclip.download.chunks import CHUNK_SCHEMA, SETTINGS_KEY, ChunkLog, is_success, read_rows
from bioclip.download.circumstances import Circumstances
from bioclip.download.outcomes import LEDGER_SCHEMA, PERMANENT, RETRY_LATER
from bioclip.settings import DownloadSettings
from bioclip.storage import Storage
from bioclip.withdrawals import WITHDRAWN
from bioclip.withdrawals.stored_images import listed_images, listed_rows


@dataclass(frozen=True)
class MediaRequest:
    """A URL to request, the records that need it, and the headers that make the request conditional.

    `root` is the base of a `local:` URL, '' for any other.
    """

    url: str
    root: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    conditional: Mapping[str, str] = field(default_factory=dict)


class Progress:
    """Outcomes by record id, and the location of each image: (file, bytes of the original); '' is `rest`, in memory.

    Reads the partition's finished file and its chunks; rows of other image settings count as unknown.
    """

    def __init__(
        self,
        storage: Storage,
        images: str,
        outcomes: str,
        settings_digest: str,
        settings: DownloadSettings,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._storage, self._images, self._outcomes = storage, images, outcomes
        self._digest, self._settings, self._now = settings_digest.encode(), settings, now
        self.outcomes: dict[str, dict[str, Any]] = {}
        self.images: dict[str, tuple[str, int]] = {}
        self.rest: pa.Table = CHUNK_SCHEMA.empty_table()
        self._finished: set[str] = set()
        self._circumstances = Circumstances(None, settings)

    def read(self, log: ChunkLog) -> None:
        """Read the finished file, then the chunks, whose rows are newer."""
        self._read_finished()
        self._read_chunks(log)

    def complete(self, log: ChunkLog) -> None:
        """Read what this run fetched: its chunks, and the rows after the last of them."""
        self._read_chunks(log)
        self.rest = log.rest()
        self._add(self.rest.drop_columns(["image"]).to_pylist(), "")

    def restore(self, withdrawn: Collection[str]) -> None:
        """Discard refusals for a hash that is no longer listed, so that the image is requested again."""
        for record_id in [key for key, row in self.outcomes.items() if row["reason"] == WITHDRAWN and row["detail"] not in withdrawn]:
            del self.outcomes[record_id]

    def withdraw(self, withdrawn: Collection[str]) -> None:
        """Refuse images with a listed hash, in any file: their rows become `taken_down`, with the hash as detail."""
        if not withdrawn:
            return
        for name in sorted({name for name, _ in self.images.values()}):
            found = listed_images(self._storage, name, withdrawn) if name else listed_rows(self.rest, withdrawn)
            for record_id, value in found.items():
                if self.images.get(record_id, ("?", 0))[0] == name:
                    del self.images[record_id]
                    self.outcomes[record_id] |= {"status": PERMANENT, "reason": WITHDRAWN, "detail": value}

    def _read_chunks(self, log: ChunkLog) -> None:
        for name in log.names():
            self._add(read_rows(self._storage, name), name)

    def _read_finished(self) -> None:
        storage = self._storage
        if not (storage.exists(self._images) and storage.exists(self._outcomes)):
            return
        with storage.reader(self._images) as stream:
            images = pq.ParquetFile(stream)
            if (images.schema_arrow.metadata or {}).get(SETTINGS_KEY) != self._digest:
                return
            sizes = images.read(columns=["record_id", "original_num_bytes"])
        with storage.reader(self._outcomes) as stream:
            ledger = pq.read_table(stream)
        self._circumstances = Circumstances(ledger.schema.metadata, self._settings)
        if "crop" not in ledger.column_names:
            return
        known = dict(zip(sizes["record_id"].to_pylist(), sizes["original_num_bytes"].to_pylist(), strict=True))
        rows = [row for row in ledger.to_pylist() if not is_success(row) or row["record_id"] in known]
        self._add([row | {"original_num_bytes": known.get(row["record_id"])} for row in rows], self._images)
        self._finished = {row["record_id"] for row in rows}

    def _add(self, rows: list[dict[str, Any]], name: str) -> None:
        for row in rows:
            record_id = row["record_id"]
            self.outcomes[record_id] = {column: row[column] for column in LEDGER_SCHEMA.names}
            self._finished.discard(record_id)
            if is_success(row):
                self.images[record_id] = (name, row["original_num_bytes"])
            else:
                self.images.pop(record_id, None)

    def missing(self, wanted: list[dict[str, Any]]) -> list[MediaRequest]:
        """The URLs to request, each once, in order of record id."""
        asks: dict[tuple[str, str], MediaRequest] = {}
        for row in wanted:
            if not self._holds(row):
                place = row["media_url"], row.get("media_root", "")
                asks.setdefault(place, MediaRequest(*place)).rows.append(row)
        return [replace(ask, conditional=self._validators(ask)) for ask in asks.values()]

    def _holds(self, row: dict[str, Any]) -> bool:
        """True if this record's URL and crop have an outcome and need not be requested again."""
        outcome = self._same(row)
        if outcome is None:
            return False
        if row["record_id"] in self._finished and self._circumstances.is_outdated(outcome, row.get("media_root", "")):
            return False
        if outcome["status"] == RETRY_LATER:
            age_s = (self._now() - outcome["fetched_at"]).total_seconds() if outcome["fetched_at"] else float("inf")
            return age_s < self._settings.retry_later_after_s
        return not (self._settings.refetch and row["record_id"] in self._finished)

    def _same(self, row: dict[str, Any]) -> dict[str, Any] | None:
        outcome = self.outcomes.get(row["record_id"])
        return outcome if outcome and (outcome["media_url"], outcome["crop"]) == (row["media_url"], row["crop"]) else None

    def _validators(self, ask: MediaRequest) -> dict[str, str]:
        """Conditional headers, if every record of the URL has an image of the same version."""
        known = [self._same(row) for row in ask.rows]
        versions = {(outcome["etag"], outcome["last_modified"]) if outcome and is_success(outcome) else ("", "") for outcome in known}
        if len(versions) != 1:
            return {}
        etag, last_modified = versions.pop()
        headers = {"If-None-Match": etag, "If-Modified-Since": last_modified}
        return {name: value for name, value in headers.items() if value}

    def keeps_earlier(self, row: dict[str, Any]) -> bool:
        """True if this record keeps its image when a refetch fails temporarily or finds it unchanged."""
        outcome = self._same(row)
        return outcome is not None and is_success(outcome)
