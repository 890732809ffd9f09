"""Fetching JPEGs of about 150 KB from a loopback server, checking, hashing and storing them at 256 px (longer side, quality 90).

Ours is the product's own `download_partition` in two processes, with permissive limits (rate and connections per host). Peer:
img2dataset 1.47.0, two processes of 32 threads, webdataset output, SHA-256 of each body, `keep_ratio_largest`, the same size and quality;
it computes no perceptual hash. One case keeps the original bytes on both sides (ours still decodes them, to check and hash). The
server runs in a separate process with keep-alive and a deep backlog, and shares the cores with the client. `work` is the time from the
first partition's or shard's start to the last one's end; `whole` adds starting the processes. HTTPS comes with the usual set of some
hundred certificate authorities, as any machine has, and once with the server's own certificate alone, which spares img2dataset the loading
of that set for each connection. Our CPU time (of the work, without starting Python) is compared with a floor: the transfer over one kept
connection of http.client plus a reduced decode, resize and encode by Pillow, no hashes. JPEGs of 12 megapixels are stored at 256 px in
process. All traffic is on the loopback interface: no network is measured.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import certifi
import pyarrow.parquet as pq

from benchmarks.acquisition.download_floor import large_image_comparisons, pixels_cpu_ms, transfer_cpu_ms
from benchmarks.acquisition.media_server import make_certificate, served
from benchmarks.measuring import Comparison, FactTable, Report, alternate
from benchmarks.photographs import large_photographs
from benchmarks.registry import Context
from bioclip.download.stage import download_partition
from bioclip.partitions import PartitionWriter
from bioclip.records import Record
from bioclip.settings import DownloadSettings
from bioclip.sources.parsing.columns import records_table
from bioclip.storage import Storage

_NUM_PROCESSES = 2
_NUM_THREADS = 32
_PX, _QUALITY = 256, 90


@dataclass(frozen=True)
class _Corpus:
    """`num_urls` addresses of `folder`'s images; a query string distinguishes addresses of the same image."""

    folder: Path
    num_images: int
    num_urls: int

    def urls(self, address: str) -> list[str]:
        return [f"{address}/{index % self.num_images:04d}.jpg?{index // self.num_images}" for index in range(self.num_urls)]


@dataclass(frozen=True)
class _Policy:
    """How a body is stored: our settings and img2dataset's."""

    ours: Mapping[str, Any]
    theirs: Mapping[str, Any]


_RESIZED = _Policy(
    {"store": "longer_side", "store_px": _PX, "jpeg_quality": _QUALITY},
    {"image_size": _PX, "resize_mode": "keep_ratio_largest", "encode_quality": _QUALITY},
)
_AS_THEY_CAME = _Policy({"store": "original"}, {"resize_mode": "no", "disable_all_reencoding": True})


@dataclass(frozen=True)
class _Case:
    """How the corpus is served, the trusted authorities, and how bodies are stored."""

    name: str
    tls: tuple[Path, Path] | None
    trusted: Path
    policy: _Policy


@dataclass
class _Tally:
    """Results of the repeats of one side."""

    whole_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    work_cpu_s: list[float] = field(default_factory=list)
    images: list[int] = field(default_factory=list)


def run(context: Context) -> Report:
    """Images per second over HTTP and HTTPS."""
    corpus = _make_corpus(context.scratch / "served", *((40, 80) if context.quick else (500, 2_000)))
    certificate, key = make_certificate(context.scratch)
    everyone = context.scratch / "authorities.pem"
    everyone.write_bytes(Path(certifi.where()).read_bytes() + b"\n" + certificate.read_bytes())
    comparisons = large_image_comparisons(
        list(large_photographs(2 if context.quick else 12, 4.0)), _settings(_RESIZED.ours), 1 if context.quick else 5
    )
    counts: list[tuple[str, str, str, float]] = []
    floors: list[tuple[str, float, float, float, float]] = []
    photographs = [path.read_bytes() for path in sorted(corpus.folder.iterdir())]
    pixels_ms = pixels_cpu_ms(photographs, _PX, _QUALITY)
    tls = (certificate, key)
    cases = [_Case("HTTP", None, everyone, _RESIZED), _Case("HTTPS", tls, everyone, _RESIZED)]
    if not context.quick:
        cases += [_Case("HTTPS, as they came", tls, everyone, _AS_THEY_CAME), _Case("HTTPS, one authority", tls, certificate, _RESIZED)]
    for case in cases:
        name = case.name
        with ExitStack() as stack:
            urls = corpus.urls(stack.enter_context(served(corpus.folder, case.tls)))
            transfer_ms = transfer_cpu_ms(urls, str(case.trusted))
            rows, tallies = _compare(case, urls, context)
        for row in rows:
            print("  ".join(row.cells()), flush=True)  # minutes pass between cases
        comparisons.extend(rows)
        for side, tally in tallies.items():
            cpu_ms = 1000 * statistics.median(tally.cpu_s) / len(urls)
            counts.append((name, side, f"{min(tally.images)} of {len(urls)}", cpu_ms))
            if side == "ours" and case.policy is _RESIZED:
                work_ms = 1000 * statistics.median(tally.work_cpu_s) / len(urls)
                floors.append((name, transfer_ms, pixels_ms, work_ms, work_ms / (transfer_ms + pixels_ms)))
    title = "Images stored (least of the repeats), CPU time of all the client's processes with their start (median)"
    floor = FactTable("CPU ms an image beside the floor", ("case", "transfer", "pixels", "ours", "ours / floor"), tuple(floors))
    return Report(tuple(comparisons), (FactTable(title, ("case", "by", "images", "CPU ms an image"), tuple(counts)), floor))


def _make_corpus(folder: Path, num_images: int, num_urls: int) -> _Corpus:
    folder.mkdir()
    for index, data in enumerate(large_photographs(num_images)):
        (folder / f"{index:04d}.jpg").write_bytes(data)
    return _Corpus(folder, num_images, num_urls)


def _compare(case: _Case, urls: list[str], context: Context) -> tuple[list[Comparison], dict[str, _Tally]]:
    python = context.peers.python("img2dataset")
    name = context.peers.version("img2dataset", "img2dataset") + ("" if python else " is not installed")
    environment = {**os.environ, "SSL_CERT_FILE": str(case.trusted)}
    ours, theirs = _Tally(), _Tally()
    peer = _img2dataset(python, urls, environment, context.scratch, theirs, case.policy) if python else None
    seconds = alternate(_product(urls, environment, context.scratch, ours, case.policy), peer, repeats=1 if context.quick else 3)
    whole = (tuple(ours.whole_s), tuple(theirs.whole_s))
    rows = [
        Comparison(f"{case.name}, {kind}", name, *times, len(urls), "images/s") for kind, times in (("work", seconds), ("whole", whole))
    ]
    return rows, {"ours": ours} | ({name: theirs} if python else {})


def _product(urls: list[str], environment: dict[str, str], scratch: Path, tally: _Tally, policy: _Policy) -> Callable[[], float]:
    workspace = scratch / "ours"
    command = [sys.executable, "-m", "benchmarks.acquisition.download", str(workspace), json.dumps(policy.ours)]

    def download() -> float:
        shutil.rmtree(workspace, ignore_errors=True)
        (workspace / "records").mkdir(parents=True)
        num_partitions = 2 * _NUM_PROCESSES
        for index in range(num_partitions):
            records = records_table(Record("benchmark", url, url) for url in urls[index::num_partitions])
            pq.write_table(records.sort_by("record_id"), workspace / f"records/part-{index:05d}.parquet")
        started, cpu_started = time.time(), _children_cpu_s()
        spans = _finish(
            [
                subprocess.Popen(
                    [*command, *map(str, range(worker, num_partitions, _NUM_PROCESSES))],
                    env=environment,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                for worker in range(_NUM_PROCESSES)
            ]
        )
        tally.whole_s.append(time.time() - started)
        tally.cpu_s.append(_children_cpu_s() - cpu_started)
        tally.work_cpu_s.append(sum(span["cpu_s"] for span in spans))
        tally.images.append(sum(span["images"] for span in spans))
        return float(max(span["end"] for span in spans) - min(span["start"] for span in spans))

    return download


def _children_cpu_s() -> float:
    """CPU time of all finished child processes; the server is still running."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _finish(processes: list[subprocess.Popen[str]]) -> list[dict[str, Any]]:
    outputs = [process.communicate()[0] for process in processes]
    for process in processes:
        if process.returncode != 0:
            raise subprocess.CalledProcessError(process.returncode, process.args)
    return [json.loads(output) for output in outputs]


def _settings(policy: Mapping[str, Any]) -> DownloadSettings:
    """The product's settings with permissive limits."""
    return DownloadSettings(
        concurrency=_NUM_THREADS,
        concurrency_per_host=_NUM_PROCESSES * _NUM_THREADS,
        requests_per_second_per_host=1e6,
        allow_networks=("127.0.0.0/8",),
        **policy,
    )


def _work(workspace: str, policy: str, partitions: list[int]) -> None:
    """One process of ours: some partitions in sequence; prints its start and end times."""
    settings = _settings(json.loads(policy))
    storage = Storage(workspace)
    started, cpu_started, images = time.time(), time.process_time(), 0
    for index in partitions:
        writer, records = PartitionWriter(storage), [f"records/part-{index:05d}.parquet"]
        counts = download_partition(storage, writer, index=index, records=records, settings=settings)
        images += counts.written
    print(json.dumps({"start": started, "end": time.time(), "cpu_s": time.process_time() - cpu_started, "images": images}))


def _img2dataset(
    python: Path, urls: list[str], environment: dict[str, str], scratch: Path, tally: _Tally, policy: _Policy
) -> Callable[[], float]:
    listed, target = scratch / "urls.txt", scratch / "theirs"
    listed.write_text("\n".join(urls) + "\n")
    options = {
        "url_list": listed,
        "output_folder": target,
        "output_format": "webdataset",
        **policy.theirs,
        "processes_count": _NUM_PROCESSES,
        "thread_count": _NUM_THREADS,
        "number_sample_per_shard": max(1, len(urls) // (4 * _NUM_PROCESSES)),
        "enable_wandb": False,
    }
    command = [str(python.with_name("img2dataset")), *(f"--{name}={value}" for name, value in options.items())]
    quiet = {"NO_ALBUMENTATIONS_UPDATE": "1", "WANDB_MODE": "disabled"}  # its imports call a package index otherwise

    def download() -> float:
        shutil.rmtree(target, ignore_errors=True)
        started, cpu_started = time.time(), _children_cpu_s()
        subprocess.run(command, env={**environment, **quiet}, check=True, capture_output=True)
        tally.whole_s.append(time.time() - started)
        tally.cpu_s.append(_children_cpu_s() - cpu_started)
        shards = [json.loads(path.read_bytes()) for path in sorted(target.glob("*_stats.json"))]
        tally.images.append(sum(shard["successes"] for shard in shards))
        return float(max(shard["end_time"] for shard in shards) - min(shard["start_time"] for shard in shards))

    return download


if __name__ == "__main__":
    _work(sys.argv[1], sys.argv[2], [int(index) for index in sys.argv[3:]])
