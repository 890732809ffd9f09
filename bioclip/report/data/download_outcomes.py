"""Download outcomes, summarised over the outcome ledgers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from bioclip import layout
from bioclip.parquet import read_batches
from bioclip.partitions import StageManifest
from bioclip.report.data.counting import SmallestKeys, most_frequent
from bioclip.report.data.report_data import DownloadSummary, HostSummary
from bioclip.report.data.samples.sample_summary import DropGroup, FailedMedia
from bioclip.storage import Storage

MAX_HOSTS = 25
MAX_FAILED_PER_REASON = 6
_BATCH_ROWS = 8_192
_LONGEST_SCHEME = len("https://")
_COLUMNS = ["record_id", "media_url", "status", "reason", "http_status", "attempts", "detail", "fetched_at"]


@dataclass
class _Host:
    num_urls: int = 0
    num_attempts: int = 0
    num_fetched: int = 0
    num_recovered: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    def add(self, row: dict[str, Any], is_first: bool) -> None:
        self.num_urls += 1
        self.num_attempts += row["attempts"] if is_first else 0
        if row["status"] == "success":
            self.num_fetched += 1
            self.num_recovered += row["attempts"] > 1
        else:
            self.failures[row["reason"] or row["status"]] += 1


class _OutcomeCounter:
    """Counts over the rows of ledgers, one ledger after the other."""

    def __init__(self) -> None:
        self.hosts: defaultdict[str, _Host] = defaultdict(_Host)
        self.failures: Counter[tuple[str, str]] = Counter()
        self.statuses: Counter[int] = Counter()
        self.examples: defaultdict[str, SmallestKeys] = defaultdict(lambda: SmallestKeys(MAX_FAILED_PER_REASON))
        self.times: set[datetime] = set()

    def add_ledger(self, batches: Iterable[pa.Table]) -> None:
        """Count the rows of one partition, in tables of `_COLUMNS`."""
        addresses: set[str] = set()
        for batch in batches:
            extremes = pc.min_max(batch["fetched_at"]).as_py()
            self.times |= {time for time in extremes.values() if time is not None}
            for row in batch.drop_columns(["fetched_at"]).to_pylist():
                self._add(row, row["media_url"] not in addresses)
                addresses.add(row["media_url"])

    def _add(self, row: dict[str, Any], is_first: bool) -> None:
        self.hosts[host_of(row["media_url"])].add(row, is_first)
        self.statuses[row["http_status"] or 0] += 1
        if row["status"] != "success":
            reason = row["reason"] or row["status"]
            self.failures[row["status"], reason] += 1
            failed = FailedMedia(row["record_id"], row["media_url"], row["http_status"], row["attempts"], row["detail"])
            self.examples[reason].offer(row["record_id"], failed)

    def summary(self) -> DownloadSummary:
        """All counts; the busiest hosts by themselves."""
        hosts = self.hosts
        busiest = [name for name, _ in most_frequent(((name, host.num_urls) for name, host in hosts.items()), MAX_HOSTS)]
        return DownloadSummary(
            num_urls=sum(host.num_urls for host in hosts.values()),
            num_attempts=sum(host.num_attempts for host in hosts.values()),
            num_fetched=sum(host.num_fetched for host in hosts.values()),
            num_recovered=sum(host.num_recovered for host in hosts.values()),
            num_hosts=len(hosts),
            hosts=tuple(_host_summary(name, hosts[name]) for name in busiest),
            failures=dict(most_frequent(self.failures.items(), len(self.failures))),
            http_statuses=dict(sorted(self.statuses.items())),
            days=(min(self.times).date(), max(self.times).date()) if self.times else None,
        )

    def groups(self) -> tuple[DropGroup, ...]:
        """Media without an image by reason, with examples."""
        counts: Counter[str] = Counter()
        for (_, reason), count in self.failures.items():
            counts[reason] += count
        return tuple(
            DropGroup("download", reason, count, failed=tuple(self.examples[reason].values()))
            for reason, count in most_frequent(counts.items(), len(counts))
        )


def gather_downloads(storage: Storage, images: StageManifest | None) -> tuple[DownloadSummary | None, tuple[DropGroup, ...]]:
    """Outcomes by host, reason and HTTP status, and examples of media without an image; None without the stage or its ledgers.

    Memory grows with the number of hosts and reasons and with one partition, not with the media. Records of one partition with the same
    address share its attempts, which count once. Examples are the media with the smallest record ids.
    """
    names = [name for output in (images.outputs if images else ()) if storage.exists(name := layout.outcomes_of(output.name))]
    if not names:
        return None, ()
    counter = _OutcomeCounter()
    for name in names:
        counter.add_ledger(read_batches(storage, name, _COLUMNS, _BATCH_ROWS))
    return counter.summary(), counter.groups()


def host_of(url: str) -> str:
    """The host of `url` in lower case; empty when it has none or is not a URL."""
    return _host_of_start(url[: url.find("/", _LONGEST_SCHEME) + 1] or url)


@lru_cache(maxsize=4096)
def _host_of_start(start: str) -> str:
    """Of a URL up to the first slash of its path: a ledger has few of them, and splitting a URL takes longer than counting its row."""
    try:
        return urlsplit(start).hostname or ""
    except ValueError:
        return ""


def _host_summary(name: str, host: _Host) -> HostSummary:
    failures = dict(most_frequent(host.failures.items(), len(host.failures)))
    return HostSummary(name, host.num_urls, host.num_attempts, host.num_fetched, host.num_recovered, failures)
