"""Politeness of the downloader, measured in the server's log.

One slow host and one that answers 429 together with 18 others: the throughput of the 18, against the same run without those two. Then the
request rate and the concurrency at one host with 1, 2 and 4 worker processes at once, against the setting. The server runs in a separate
process and answers for any host name on loopback. Peer: our own run without the two difficult hosts; img2dataset has no limits per host to
compare.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.acquisition.fault_server import make_bodies
from benchmarks.measuring import Comparison, FactTable, Report
from benchmarks.registry import Context
from bioclip.download.allowance_service import AllowanceAddress, serve_allowances
from bioclip.download.stage import download_partition
from bioclip.partitions import PartitionWriter
from bioclip.records import Record
from bioclip.settings import DownloadSettings
from bioclip.sources.parsing.columns import records_table
from bioclip.storage import Storage

_SLOW_S, _USUAL_S = 3.0, 0.05
_RATE, _CONCURRENCY = 40.0, 4


def run(context: Context) -> Report:
    """Throughput with a slow host; rate and concurrency over workers."""
    others, repeats = (18, 1) if context.quick else (18, 3)
    per_host = 20 if context.quick else 400
    with_s: list[float] = []
    without_s: list[float] = []
    for repeat in range(repeats):
        for trouble, seconds in ((True, with_s), (False, without_s)):
            seconds.append(_time_of_others(context.scratch / f"hosts-{repeat}-{trouble}", others, per_host, trouble))
    comparison = Comparison(
        "18 hosts beside a slow one and a busy one",
        "the same without those two",
        tuple(with_s),
        tuple(without_s),
        others * per_host,
        "images/s",
    )
    rows = tuple(_measured(context.scratch / f"workers-{number}", number, 40 if context.quick else 200) for number in (1, 2, 4))
    names = ("worker processes", "requests", "requests/s", "most in any second", "most at once")
    return Report((comparison,), (FactTable(f"One host, at most {_RATE:.0f} requests/s and {_CONCURRENCY} at once", names, rows),))


def _time_of_others(workspace: Path, num_hosts: int, per_host: int, trouble: bool) -> float:
    """Seconds from the first request to the last response of the well-behaved hosts."""
    hosts = [f"h{index}.example" for index in range(num_hosts)] + (["slow.example", "busy.example"] if trouble else [])
    with _server() as port:
        settings = _settings(port, hosts, requests_per_second_per_host=1e4, timeout_s=10, backoff_s=0.1, max_attempts=2)
        _work_all(workspace, settings, [f"http://{host}/{index}" for index in range(per_host) for host in hosts], 2)
        log = _log(port)
    first = min(start for spans in log.values() for start, _ in spans)
    return max(end for host, spans in log.items() if host.startswith("h") for _, end in spans) - first


def _measured(workspace: Path, num_workers: int, num_urls: int) -> tuple[str, ...]:
    with _server() as port:
        settings = _settings(port, ["one.example"], requests_per_second_per_host=_RATE, concurrency_per_host=_CONCURRENCY)
        _work_all(workspace, settings, [f"http://one.example/{index}" for index in range(num_urls)], num_workers)
        spans = _log(port)["one.example"]
    starts = sorted(start for start, _ in spans)
    rate = (len(starts) - 1) / (starts[-1] - starts[0])
    in_a_second = max(sum(start <= other < start + 1 for other in starts) for start in starts)
    changes = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    now = most = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return str(num_workers), str(len(starts)), f"{rate:.1f}", str(in_a_second), str(most)


def _settings(port: int, hosts: list[str], **values: Any) -> DownloadSettings:
    connect_to = dict.fromkeys(hosts, f"127.0.0.1:{port}")
    return DownloadSettings(allow_networks=("127.0.0.0/8",), connect_to=connect_to, store_px=40, **values)


def _work_all(workspace: Path, settings: DownloadSettings, urls: list[str], num_workers: int) -> None:
    (workspace / "records").mkdir(parents=True)
    for worker in range(num_workers):
        records = records_table(Record("manners", url, url) for url in urls[worker::num_workers])
        pq.write_table(records.sort_by("record_id"), workspace / f"records/part-{worker:05d}.parquet")
    (workspace / "settings.json").write_text(settings.model_dump_json())
    with serve_allowances(settings) as address:
        command = [
            sys.executable,
            "-m",
            "benchmarks.acquisition.download_manners",
            "work",
            str(workspace),
            str(address.port),
            address.token,
        ]
        workers = [subprocess.Popen([*command, str(worker)]) for worker in range(num_workers)]
        codes = [worker.wait() for worker in workers]
        if any(codes):
            raise RuntimeError("a worker failed")


def _work(workspace: str, port: str, token: str, worker: str) -> None:
    settings = DownloadSettings.model_validate_json((Path(workspace) / "settings.json").read_text())
    storage, index = Storage(workspace), int(worker)
    address = AllowanceAddress("127.0.0.1", int(port), token)
    records = [f"records/part-{index:05d}.parquet"]
    download_partition(storage, PartitionWriter(storage), index=index, records=records, settings=settings, allowance=address)


@contextmanager
def _server() -> Iterator[int]:
    command = [sys.executable, "-m", "benchmarks.acquisition.download_manners", "serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def _log(port: int) -> dict[str, list[tuple[float, float]]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/log") as answer:
        log: dict[str, list[tuple[float, float]]] = json.load(answer)
    return log


async def _serve() -> None:
    body = make_bodies(2)["photograph"][0]
    log: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                started = time.monotonic()
                host = head.lower().split("\r\nhost: ")[1].split("\r\n")[0]
                if head.startswith("GET /log"):
                    answer = json.dumps(log).encode()
                    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
                    break
                await asyncio.sleep(_SLOW_S if host.startswith("slow") else _USUAL_S)
                log[host].append((started, time.monotonic()))
                if host.startswith("busy"):
                    writer.write(b"HTTP/1.1 429 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
                else:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has its response
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(_serve())
    else:
        _work(*sys.argv[2:])
