"""The index and the orders of 200 million samples in eight simulated processes, and the requests to a remote storage by order.

The file of rows is sparse: it has its full size and is mapped and read as any other, but takes no disk and all ids are 0. Each process
opens the index, makes the training data and looks up its part of each batch of 32,768, across an epoch's end. Memory is what Linux states
for the process, mapped pages included. Requests are counted on a memory:// storage with tars of 100 samples, eight processes sharing one
folder.
Peer: none; open_clip and webdataset have no random access and no order beyond a shuffle buffer.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import time
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

import numpy as np
import torch
from PIL import Image
from scipy.stats import chi2

from benchmarks.measuring import FactTable, Report
from benchmarks.registry import Context
from bioclip import layout
from bioclip.releases import Release
from bioclip.settings import TrainingSettings
from bioclip.shards.index_building import index_split, index_tars, split_folder
from bioclip.shards.sample_index import ROW
from bioclip.storage import Storage
from bioclip.tars import write_tar
from bioclip.training.data import TrainingData
from bioclip.training.data.order import BlockOrder, EpochOrder, SampleOrder
from bioclip.training.data.shard_reading import ShardCache
from bioclip.training.data.streams import FOREIGN_CAPTION, Stream

_NUM_RANKS, _BATCH, _SAMPLES_PER_SHARD = 8, 32_768, 10_000
_STEPS_BEFORE_END = 20


def run(context: Context) -> Report:
    """Memory, start and epoch's end by order; requests a sample; evenness."""
    num_samples = 2_000_000 if context.quick else 200_000_000
    release = _release(context.scratch, num_samples // _SAMPLES_PER_SHARD)
    _write_sparse_index(split_folder(release, "train", context.scratch), num_samples)
    ranks = []
    for order in ("sample", "block"):
        with multiprocessing.get_context("spawn").Pool(_NUM_RANKS) as pool:
            found = pool.starmap(_use_index, [(str(context.scratch), num_samples, order, rank) for rank in range(_NUM_RANKS)])
        ranks.append((order, f"{num_samples:,}", *(round(max(column), 3) for column in zip(*found, strict=True))))
    header = ("order", "samples", "start, s", "resident, MiB", "not shared, MiB", "a batch of this process, ms", "at an epoch's end, ms")
    return Report(
        (),
        (
            FactTable(f"Worst of {_NUM_RANKS} processes", header, tuple(ranks)),
            FactTable("Requests to the storage", ("order", "samples read", "requests", "requests a sample"), tuple(_requests(context))),
            FactTable("Evenness of an epoch, p of chi-squared tests", ("order", "samples", "places", "distances"), tuple(_evenness())),
        ),
    )


def _release(folder: Path, num_shards: int) -> Release:
    shards = [
        {"name": f"shards/train/shard-{number:05d}.tar", "num_bytes": 0, "num_samples": _SAMPLES_PER_SHARD, "sha256": f"{number:064x}"}
        for number in range(num_shards)
    ]
    return Release("synthetic", "synthetic", {"splits": {"train": {"shards": shards}}}, Storage(str(folder / "release")))


def _write_sparse_index(folder: Path, num_samples: int) -> None:
    folder.mkdir(parents=True)
    with (folder / layout.SAMPLE_INDEX_ROWS).open("wb") as stream:
        stream.truncate(num_samples * ROW.itemsize)
    sizes = [_SAMPLES_PER_SHARD] * (num_samples // _SAMPLES_PER_SHARD)
    members = {"jpg": num_samples, **{f"{name}.txt": num_samples for name in TrainingSettings().caption_types}}
    facts = {"sizes": sizes, "members": members, "num_bytes": num_samples * 30_000, "num_incomplete": 0, "lineages": ["a" * 6]}
    (folder / layout.SAMPLE_INDEX_FACTS).write_text(json.dumps(facts))


def _use_index(folder: str, num_samples: int, order: str, rank: int) -> tuple[float, float, float, float, float]:
    """Start in s, resident and not shared memory in MiB, ms of a batch, and of the one at an epoch's end."""
    started = time.perf_counter()
    release = _release(Path(folder), num_samples // _SAMPLES_PER_SHARD)
    settings = TrainingSettings.model_validate({"batch_size": _BATCH, "order": order, "cache_images_mb": 0})
    stream = Stream(index_split(release, "train", Path(folder)), np.zeros(1, dtype=np.int32))
    data = TrainingData([stream], settings, lambda texts: torch.zeros(len(texts), 1), 224, rank, _NUM_RANKS)
    started = time.perf_counter() - started
    end = num_samples // _BATCH
    within = [_seconds(data, step) for step in range(end - _STEPS_BEFORE_END, end)][1:]
    boundary = max(_seconds(data, step) for step in (end, end + 1))
    for step in range(200):
        _seconds(data, step)
    memory = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    resident, anonymous = (int(memory[name].split()[0]) / 1024 for name in ("VmHWM", "RssAnon"))
    return started, resident, anonymous, float(np.median(within)) * 1e3, boundary * 1e3


def _seconds(data: TrainingData, step: int) -> float:
    started = time.thread_time()
    places = data.places(step)
    data.streams[0].index.take(places.position_B)
    return time.thread_time() - started


def _requests(context: Context) -> Iterable[tuple[str, int, int, float]]:
    store, num_shards, per_shard = Storage("memory://training-index"), 32, 100
    sink = io.BytesIO()
    Image.new("RGB", (16, 16), (9, 90, 9)).save(sink, "JPEG")
    for shard in range(num_shards):
        ids = [str(UUID(int=shard * per_shard + number + 1)) for number in range(per_shard)]
        with store.writer(f"{shard:05d}.tar") as sink_of_tar:
            write_tar(sink_of_tar, ((name, [("jpg", sink.getvalue()), ("txt", b"a photo of moss.")]) for name in ids))
    index = index_tars(store, [f"{shard:05d}.tar" for shard in range(num_shards)], FOREIGN_CAPTION)
    for order, cached in (("sample", False), ("sample", True), ("block", True)):
        values = {"batch_size": 128, "order": order, "window_shards": 4, "cache_images_mb": 0, "num_loader_workers": 2}
        settings = TrainingSettings.model_validate(values)
        max_bytes = index.num_bytes // (1 if order == "block" else 0.5)  # in blocks, a cache smaller than the tars does
        caches = [ShardCache(context.scratch / order, int(max_bytes)) if cached else None for _ in range(_NUM_RANKS)]
        stream = Stream(index, np.zeros(0, dtype=np.int32), is_foreign=True)
        ranks = [
            TrainingData([stream], settings, lambda texts: torch.zeros(len(texts), 1, dtype=torch.int64), 16, rank, _NUM_RANKS, cache)
            for rank, cache in enumerate(caches)
        ]
        num_steps = len(index) // settings.batch_size
        for batches in zip(*(data.batches(0, num_steps) for data in ranks), strict=True):
            assert len(batches) == _NUM_RANKS
        num = sum(data.readers[0].num_requests for data in ranks) + sum(cache.num_requests for cache in caches if cache is not None)
        name = f"{order}, {'whole tars kept' if cached else 'no cache'}"
        yield name, num_steps * settings.batch_size, num, round(num / (num_steps * settings.batch_size), 4)


def _evenness() -> Iterable[tuple[str, int, float, float]]:
    size = 10**6
    made: tuple[tuple[str, EpochOrder], ...] = (
        ("sample", SampleOrder(size, 42)),
        ("block, one window", BlockOrder(np.arange(0, size + 1, 10_000), 42, 100)),
    )
    for name, order in made:
        images = order.positions(0, np.arange(size))
        cells = np.histogram2d(np.arange(size), images, bins=100, range=[[0, size], [0, size]])[0]
        edges = np.linspace(0, size, 51)
        expected = np.diff(2 * edges / size - (edges / size) ** 2) * (size - 1)
        found = np.histogram(np.abs(np.diff(images)), edges)[0]
        places = chi2.sf(((cells - size / 1e4) ** 2 / (size / 1e4)).sum(), 99 * 99)
        yield name, size, round(float(places), 3), round(float(chi2.sf(((found - expected) ** 2 / expected).sum(), 49)), 3)
