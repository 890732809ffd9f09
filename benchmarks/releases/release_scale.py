"""Cost of a release of millions of images: seconds, rows per second and peak memory of each step after the downloads.

Tables of 1,000,000 images (`TREEOFLIFE_RELEASE_IMAGES=10000000` for another number) are written by
benchmarks/releases/release_tables.py; then each step runs in a separate process: the stage `release`, the plan of the shards, one
partition's shards, the tables and metadata of `publish`, `verify` without `--deep`, `diff` of the release with itself, `trace` of
one id. The other partitions' tars are placeholders: `shard_writing` measures how fast tars are written. Peer: none, other
pipelines build no release with splits, gate and lineage.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.measuring import FactTable, Report, seconds_of
from benchmarks.registry import Context
from benchmarks.releases.release_tables import write_tables
from benchmarks.releases.release_workspace import make_settings
from bioclip import layout
from bioclip.accounting import Counts
from bioclip.errors import UsageError
from bioclip.partitions import OutputFile, PartitionManifest, run_partition, write_stage
from bioclip.publishing.stage import plan_publish
from bioclip.releases.aliases import point_latest
from bioclip.releases.diff import compare_releases
from bioclip.releases.locating import open_release
from bioclip.selection.stage import plan_release
from bioclip.settings import PipelineSettings
from bioclip.shards.stage import plan_shards, release_version
from bioclip.storage import open_workspace
from bioclip.trace.lookup import find_images
from bioclip.trace.scope import open_scope
from bioclip.trace.trace import trace_image
from bioclip.verification.verify import verify_release

SIZE_VARIABLE = "TREEOFLIFE_RELEASE_IMAGES"
_PER_PARTITION = 20_000
TraceStep = Callable[[PipelineSettings], None]


def run(context: Context) -> Report:
    """One repeat; a step whose process was killed, usually for lack of memory, stops the run with an error."""
    num_images = 20_000 if context.quick else _num_images()
    num_partitions, root = max(4, num_images // _PER_PARTITION), context.scratch / "workspace"
    rows: list[tuple[Any, ...]] = []
    for name, step in (("tables of the stages before, synthetic", partial(_write, num_images)), *_STEPS):
        try:
            if step is _publish:
                _alone(_stand_in, root, num_partitions)
            seconds, peak = _alone(_timed, step, root, num_partitions)
        except BrokenProcessPool:
            rows.append((name, "killed", "", ""))
            break
        rows.append((name, round(seconds, 2), "" if step in _OF_FEW else round(num_images / seconds), round(peak / 2**20)))
    header = ("step", "s", "images/s", "peak MiB")
    return Report((), (FactTable(f"{num_images:,} images in {num_partitions} partitions", header, tuple(rows)),))


def _num_images() -> int:
    text = os.environ.get(SIZE_VARIABLE, "1000000")
    if not text.isdecimal() or int(text) < 1_000:
        raise UsageError(f"{SIZE_VARIABLE}={text!r} is not a number of images; give at least 1000.")
    return int(text)


def _alone(work: Callable[..., Any], *arguments: Any) -> Any:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _timed(step: TraceStep, root: Path, num_partitions: int) -> tuple[float, int]:
    """(seconds, peak resident bytes of this process, imports included)."""
    settings = _settings(root, num_partitions)
    return seconds_of(lambda: step(settings)), _peak_bytes()


def _settings(root: Path, num_partitions: int) -> PipelineSettings:
    return make_settings(root, num_partitions, 10_000, parent="")


def _peak_bytes() -> int:
    """Of this program alone; getrusage's includes the peak of the process it was forked from."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def _write(num_images: int, settings: PipelineSettings) -> None:
    write_tables(open_workspace(settings.workspace), num_images, settings.ingest.num_partitions)


def _release(settings: PipelineSettings) -> None:
    storage = open_workspace(settings.workspace)
    write_stage(storage, "release", [run_partition(job).manifest for job in plan_release(storage, settings)])


def _plan(settings: PipelineSettings) -> None:
    plan_shards(open_workspace(settings.workspace), settings)


def _one_partition(settings: PipelineSettings) -> None:
    """Includes its plan, which `_plan` times separately."""
    storage = open_workspace(settings.workspace)
    run_partition(plan_shards(storage, settings)[0])


def _stand_in(root: Path, num_partitions: int) -> None:
    """The stage `shards`: the first partition's tars, with small placeholder files for all others."""
    settings = _settings(root, num_partitions)
    storage = open_workspace(settings.workspace)
    version = release_version(storage, settings)
    with storage.reader(layout.in_splits(layout.SAMPLES)) as stream:
        counted = pc.value_counts(pq.read_table(stream, columns=["shard"])["shard"]).to_pylist()
    num_rows = {entry["values"]: entry["counts"] for entry in counted}
    first, *others = plan_shards(storage, settings)
    manifests = [run_partition(first).manifest]
    for job in others:
        outputs = []
        for shard in job.arguments["names"]:
            for name, num in ((shard, num_rows[shard]), (layout.shard_index(shard), None)):
                place, data = f"{layout.RELEASES_DIR}/{version}/{name}", name.encode()
                outputs.append(OutputFile(place, storage.write_bytes(place, data), len(data), num))
        number = sum(num_rows[shard] for shard in job.arguments["names"])
        manifests.append(PartitionManifest(job.stage, job.name, job.key, tuple(outputs), Counts(number, number)))
    write_stage(storage, "shards", manifests)


def _publish(settings: PipelineSettings) -> None:
    storage = open_workspace(settings.workspace)
    write_stage(storage, "publish", [run_partition(job).manifest for job in plan_publish(storage, settings)])
    point_latest(storage, release_version(storage, settings))


def _open(settings: PipelineSettings) -> None:
    open_release(open_workspace(settings.workspace), "latest").files()


def _verify(settings: PipelineSettings) -> None:
    found = verify_release(open_release(open_workspace(settings.workspace), "latest").storage)
    if found.findings:
        raise RuntimeError(f"the release is not sound: {found.findings[0]}")


def _compare(settings: PipelineSettings) -> None:
    release = open_release(open_workspace(settings.workspace), "latest")
    found = compare_releases(release, release)
    if found.added or found.removed or found.changed or not found.num_common:
        raise RuntimeError(f"a release differs from itself: {found}")


def _trace(settings: PipelineSettings) -> None:
    """An image of the partition with real tars: it is traced to its offsets."""
    storage = open_workspace(settings.workspace)
    with storage.reader(layout.in_splits(layout.SAMPLES)) as stream:
        rows = next(pq.ParquetFile(stream).iter_batches(1_000, columns=["record_id", "split"]))
    scope = open_scope(storage, "latest")
    [record_id] = find_images(scope, rows.filter(pc.not_equal(rows["split"], ""))["record_id"][0].as_py())
    if not trace_image(scope, record_id).step("shard").facts.get("members"):
        raise RuntimeError(f"the members of {record_id} were not found")


_STEPS: tuple[tuple[str, TraceStep], ...] = (
    ("stage release: splits, gate, samples", _release),
    ("plan of the shards", _plan),
    ("plan again, and shards of one partition", _one_partition),
    ("stage publish: tables, card, Croissant", _publish),
    ("reading the manifest", _open),
    ("verify, not deep", _verify),
    ("diff with itself", _compare),
    ("trace of one id", _trace),
)
_OF_FEW = (_one_partition, _open, _trace)
"""Steps that do not read all images, so they have no rate."""
