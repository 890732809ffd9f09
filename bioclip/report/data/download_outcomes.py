"""Download outcomes, summarised over the outcome ledgers."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from bioclip import layout
from bioclip.parquet import read_rows
from bioclip.partitions import StageManifest
from bioclip.report.data.counting import SmallestKeys, most_frequent
from bioclip.report.data.report_data import DownloadSummary, HostSummary
from bioclip.report.data.samples.sample_summary import DropGroup, FailedMedia
from bioclip.storage import Storage

MAX_HOSTS = 25
MAX_FAILED_PER_REASON = 6
_COLUMNS = ["record_id", "media_url", "status", "reason", "http_status", "attempts", "detail"]


@dataclass
class _Host:
    num_urls: int = 0
    num_requests: int = 0
    num_fetched: int = 0
    num_recovered: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    def add(self, row: dict[str, Any]) -> None:
        self.num_urls += 1
        self.num_requests += row["attempts"]
        if row["status"] == "success":
            self.num_fetched += 1
            self.num_recovered += row["attempts"] > 1
        else:
            self.failures[row["reason"] or row["status"]] += 1


def gather_downloads(storage: Storage, images: StageManifest | None) -> tuple[DownloadSummary | None, tuple[DropGroup, ...]]:
    """Outcomes by host, reason and HTTP status, and examples of media without an image; None without the stage or its ledgers.

    Memory grows with the number of hosts and reasons, not with the media. Examples are the media with the smallest record ids.
    """
    names = [name for output in (images.outputs if images else ()) if storage.exists(name := layout.outcomes_of(output.name))]
    if not names:
        return None, ()
    hosts: defaultdict[str, _Host] = defaultdict(_Host)
    failures: Counter[tuple[str, str]] = Counter()
    statuses: Counter[int] = Counter()
    examples: defaultdict[str, SmallestKeys] = defaultdict(lambda: SmallestKeys(MAX_FAILED_PER_REASON))
    for name in names:
        for row in read_rows(storage, name, _COLUMNS):
            hosts[host_of(row["media_url"])].add(row)
            statuses[row["http_status"] or 0] += 1
            if row["status"] != "success":
                reason = row["reason"] or row["status"]
                failures[row["status"], reason] += 1
                failed = FailedMedia(row["record_id"], row["media_url"], row["http_status"], row["attempts"], row["detail"])
                examples[reason].offer(row["record_id"], failed)
    return _summary(hosts, failures, statuses), _groups(failures, examples)


def host_of(url: str) -> str:
    """The host of `url` in lower case; empty when it has none or is not a URL."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _summary(hosts: dict[str, _Host], failures: Counter[tuple[str, str]], statuses: Counter[int]) -> DownloadSummary:
    busiest = [name for name, _ in most_frequent(((name, host.num_urls) for name, host in hosts.items()), MAX_HOSTS)]
    return DownloadSummary(
        num_urls=sum(host.num_urls for host in hosts.values()),
        num_requests=sum(host.num_requests for host in hosts.values()),
        num_fetched=sum(host.num_fetched for host in hosts.values()),
        num_recovered=sum(host.num_recovered for host in hosts.values()),
        num_hosts=len(hosts),
        hosts=tuple(_host_summary(name, hosts[name]) for name in busiest),
        failures=dict(most_frequent(failures.items(), len(failures))),
        http_statuses=dict(sorted(statuses.items())),
    )


def _host_summary(name: str, host: _Host) -> HostSummary:
    failures = dict(most_frequent(host.failures.items(), len(host.failures)))
    return HostSummary(name, host.num_urls, host.num_requests, host.num_fetched, host.num_recovered, failures)


def _groups(failures: Counter[tuple[str, str]], examples: dict[str, SmallestKeys]) -> tuple[DropGroup, ...]:
    counts: Counter[str] = Counter()
    for (_, reason), count in failures.items():
        counts[reason] += count
    return tuple(
        DropGroup("download", reason, count, failed=tuple(examples[reason].values()))
        for reason, count in most_frequent(counts.items(), len(counts))
    )
