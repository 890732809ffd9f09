"""Records on hosts with every kind of fault, downloaded by two processes that are killed five times at random and resumed.

Each record must end in exactly the outcome that its fault requires, with none lost or repeated, and the images must have the digest of
an undisturbed run. The random moments come from a seed.
Peer: none; no comparable tool resumes within a shard.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.acquisition.fault_server import FAULTS, fault_server
from benchmarks.measuring import FactTable, Report
from benchmarks.registry import Context
from bioclip import layout
from bioclip.accounting import Counts
from bioclip.download.allowance_service import AllowanceAddress, serve_allowances
from bioclip.download.stage import plan_images, read_outcomes
from bioclip.partitions import PartitionJob, PartitionManifest, PartitionWriter, read_manifest, run_partition, write_stage
from bioclip.records import Record, partition_of
from bioclip.settings import PipelineSettings
from bioclip.settings.loading import build_settings
from bioclip.sources.parsing.columns import records_table
from bioclip.storage import Storage, open_workspace

_NUM_PROCESSES, _NUM_HOSTS, _NUM_KILLS = 2, 8, 5
_RARE = {"drip": 20, "silent": 20, "gzip_bomb": 50, "unavailable": 200, "cut_body": 400, "loop": 200}
"""Largest number of records of faults that cost many seconds or megabytes each."""
_COMMON = ("photograph", "png", "webp", "octets")
_REFUSED_URLS: dict[str, str] = {
    "http://10.0.0.{}/a.jpg": "address_refused",
    "http://[::ffff:192.168.0.{}]/a.jpg": "address_refused",
    "http://[64:ff9b::a00:1]/a.jpg?{}": "address_refused",
    "http://[2002:a00:1::]/a.jpg?{}": "address_refused",
    "http://167772161/a.jpg?{}": "address_refused",
    "http://012.0.0.1/a.jpg?{}": "address_refused",
    "http://0xa.1/a.jpg?{}": "address_refused",
    "file:///etc/passwd?{}": "scheme_refused",
    "ftp://h0.faults.example/a.jpg?{}": "scheme_refused",
    "http://user:word@h0.faults.example/{}": "credentials_refused",
    "http://h0.faults.example:22/{}": "port_refused",
    "http://h0.faults.example/a\r\nX-Injected: {}": "invalid_url",
    "http://:80/{}": "invalid_url",
}


@dataclass(frozen=True)
class FaultsRun:
    """The result of one run over all records."""

    digest: str
    outcomes: Counter[tuple[str, str]]
    num_images: int
    num_kills: int
    seconds: float


def expected(num_records: int) -> dict[str, tuple[str, str]]:
    """Media URL -> (status, reason) of `num_records` records, evenly mixed."""
    urls: dict[str, tuple[str, str]] = {}
    for index in range(max(len(_REFUSED_URLS), num_records // 100)):
        pattern, reason = list(_REFUSED_URLS.items())[index % len(_REFUSED_URLS)]
        urls[pattern.format(index % 250 if "." + "{}" in pattern else index)] = ("permanent", reason)
    rare = {fault: max(2, most * num_records // 100_000) for fault, most in _RARE.items()}
    faults = [fault for fault in FAULTS if fault not in rare] + [fault for fault in _COMMON for _ in range(10)]
    queue = [fault for fault, number in rare.items() for _ in range(number)]
    for index in range(num_records - len(urls)):
        fault = queue[index] if index < len(queue) else faults[index % len(faults)]
        urls[f"http://h{index % _NUM_HOSTS}.faults.example/{fault}/{index}"] = FAULTS[fault]
    return urls


def make_settings(workspace: Path, port: int, num_partitions: int, timeout_s: float) -> PipelineSettings:
    """Settings that reach the fault server under eight names, with permissive limits and short waits."""
    hosts = [f"h{index}.faults.example" for index in range(_NUM_HOSTS)]
    return build_settings(
        {
            "workspace": {"uri": str(workspace)},
            "ingest": {"num_partitions": num_partitions},
            "download": {
                "connect_to": dict.fromkeys(hosts, f"127.0.0.1:{port}"),
                "allow_networks": ["127.0.0.1/32"],
                "concurrency_per_host": 32,
                "requests_per_second_per_host": 1e5,
                "pause_host_after": 10_000,
                "timeout_s": timeout_s,
                "max_attempts": 3,
                "backoff_s": 0.05,
                "max_body_bytes": 8 << 20,
                "store_px": 40,
                "chunk_records": 256,
            },
        }
    )


def write_records(storage: Storage, urls: list[str], num_partitions: int) -> None:
    """The result of the stage `records` for bare URLs."""
    records = [Record("faults", f"{index}", url) for index, url in enumerate(urls)]
    manifests: list[PartitionManifest] = []
    for index in range(num_partitions):
        table = records_table(record for record in records if partition_of(record.id, num_partitions) == index).sort_by("record_id")
        job = PartitionJob("records", f"part-{index:05d}", "records", 1, {}, "", _write_table, storage, {"index": index, "table": table})
        manifests.append(run_partition(job).manifest)
    write_stage(storage, "records", manifests)


def _write_table(storage: Storage, writer: PartitionWriter, *, index: int, table: pa.Table) -> Counts:
    writer.write_table(f"records/part-{index:05d}.parquet", table)
    return Counts(table.num_rows, table.num_rows)


def go_through(
    workspace: Path, port: int, urls: list[str], num_partitions: int, kill_moments_s: list[float], timeout_s: float
) -> FaultsRun:
    """Download everything in `workspace`, killing the processes after the given seconds each time, and restarting them."""
    settings = make_settings(workspace, port, num_partitions, timeout_s)
    storage = open_workspace(settings.workspace)
    write_records(storage, urls, num_partitions)
    (workspace / "settings.json").write_text(settings.model_dump_json(exclude={"workspace": {"s3"}}))
    started, killed = time.monotonic(), 0
    with serve_allowances(settings.download) as address:
        command = [
            sys.executable,
            "-m",
            "benchmarks.acquisition.download_faults",
            str(workspace),
            address.host,
            str(address.port),
            address.token,
        ]
        while True:
            processes = [subprocess.Popen([*command, str(worker)]) for worker in range(_NUM_PROCESSES)]
            killed += _finish(processes, kill_moments_s[killed] if killed < len(kill_moments_s) else None)
            if all(process.returncode == 0 for process in processes):
                break
    return _result(storage, settings, killed, time.monotonic() - started)


def _finish(processes: list[subprocess.Popen[bytes]], wait_s: float | None) -> int:
    """Wait for all, or kill all after `wait_s`; returns 1 if one was still running."""
    deadline = time.monotonic() + wait_s if wait_s is not None else None
    while any(process.poll() is None for process in processes):
        if deadline is not None and time.monotonic() > deadline:
            for process in processes:
                process.kill()
                process.wait()
            return 1
        time.sleep(0.02)
    if wait_s is None and (broken := [process.returncode for process in processes if process.returncode]):
        raise RuntimeError(f"a worker ended with exit code {broken[0]}")
    return 0


def work(workspace: str, address: AllowanceAddress, worker: int) -> None:
    """One worker process: its share of the unfinished partitions."""
    settings = build_settings(_read_settings(Path(workspace)))
    for job in plan_images(open_workspace(settings.workspace), settings, address)[worker::_NUM_PROCESSES]:
        run_partition(job)


def _read_settings(workspace: Path) -> dict[str, Any]:
    values: dict[str, Any] = PipelineSettings.model_validate_json((workspace / "settings.json").read_text()).model_dump(mode="json")
    return {name: values[name] for name in ("ingest", "download")} | {"workspace": {"uri": str(workspace)}}


def _result(storage: Storage, settings: PipelineSettings, killed: int, seconds: float) -> FaultsRun:
    jobs = plan_images(storage, settings)
    manifests = [manifest for job in jobs if (manifest := read_manifest(storage, job.manifest_name))]
    stage = write_stage(storage, "images", manifests)
    rows = [row for index in range(len(jobs)) for row in read_outcomes(storage, index)]
    images = [
        pq.read_table(storage.uri(layout.images_part(index)), columns=["record_id"])["record_id"].to_pylist() for index in range(len(jobs))
    ]
    names = [record_id for part in images for record_id in part]
    if len({row["record_id"] for row in rows}) != len(rows) or len(set(names)) != len(names):
        raise RuntimeError("a record appears twice")
    if set(names) != {row["record_id"] for row in rows if row["status"] == "success"}:
        raise RuntimeError("images and successes differ")
    if leftovers := [name for name in storage.list("images") if "/." in name]:
        raise RuntimeError(f"{leftovers[0]} is left behind")
    outcomes = Counter((row["status"], row["reason"]) for row in rows)
    _compare({row["media_url"]: (row["status"], row["reason"]) for row in rows})
    return FaultsRun(stage.digest, outcomes, len(names), killed, seconds)


def _compare(found: dict[str, tuple[str, str]]) -> None:
    wanted = expected(len(found))
    if found != wanted:
        wrong = {url: (found.get(url), outcome) for url, outcome in wanted.items() if found.get(url) != outcome}
        raise RuntimeError(f"{len(wrong)} records ended otherwise, e.g. {list(wrong.items())[:3]}")


def compare_runs(
    scratch: Path, num_records: int, num_partitions: int, num_kills: int, timeout_s: float = 4.0, seed: int = 17
) -> tuple[FaultsRun, FaultsRun]:
    """An undisturbed and a disturbed run over the same records; raises RuntimeError unless their results are equal."""
    urls, draw = list(expected(num_records)), random.Random(seed)
    with fault_server() as port:
        calm = go_through(scratch / "calm", port, urls, num_partitions, [], timeout_s)
    moments_s = [draw.uniform(0.3, 1.0) * calm.seconds / (num_kills + 1) for _ in range(num_kills)]
    with fault_server() as port:  # a new server, so faults that occur once occur again
        torn = go_through(scratch / "torn", port, urls, num_partitions, moments_s, timeout_s)
    if calm.digest != torn.digest or calm.outcomes != torn.outcomes:
        raise RuntimeError(f"the disturbed run ended otherwise: {calm.digest} and {torn.digest}")
    return calm, torn


def run(context: Context) -> Report:
    """100,000 records, or 2,000 of them with `--quick`."""
    num_records, num_partitions = (2_000, 4) if context.quick else (100_000, 8)
    runs = compare_runs(context.scratch, num_records, num_partitions, _NUM_KILLS, 1.5 if context.quick else 4.0)
    rows = tuple(
        (name, str(one.num_kills), str(one.outcomes.total()), str(one.num_images), one.digest[:16], f"{one.seconds:.0f}")
        for name, one in zip(("undisturbed", "killed"), runs, strict=True)
    )
    outcomes = tuple((status, reason, str(number)) for (status, reason), number in sorted(runs[1].outcomes.items()))
    ends = FactTable("Each record in one outcome", ("run", "kills", "outcomes", "images", "digest", "s"), rows)
    return Report((), (ends, FactTable("Outcomes of both runs", ("status", "reason", "records"), outcomes)))


if __name__ == "__main__":
    folder, host, port_text, token, number = sys.argv[1:]
    work(folder, AllowanceAddress(host, int(port_text), token), int(number))
