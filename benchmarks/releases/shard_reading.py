"""Reading shards back through webdataset on one core, our tars against those of its own ShardWriter with the same samples.

Peer: the tars of webdataset's ShardWriter; the reader is webdataset on both sides. `decoded` decodes JPEGs to PIL images, JSON and texts as
in training; `undecoded` only splits the tar into samples, so that a difference between the tars would be visible. CPU time, so that other
load on the machine has little effect. Both sides must yield the same samples.
"""

from __future__ import annotations

import gc
import hashlib
import importlib.metadata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.measuring import Comparison, FactTable, Report, alternate, cpu_seconds_of
from benchmarks.registry import Context
from benchmarks.releases.shard_writing import make_samples, write_with_webdataset
from bioclip.tars import write_tar


def run(context: Context) -> Report:
    """Samples per second of one core, and the samples read."""
    samples = make_samples(200 if context.quick else 4_000)
    repeats = 1 if context.quick else 7
    ours, theirs = context.scratch / "ours.tar", context.scratch / "webdataset-0.tar"
    with ours.open("wb") as stream:
        write_tar(stream, samples)
    try:
        peer = f"webdataset {importlib.metadata.version('webdataset')}"
        write_with_webdataset(samples, context.scratch)
    except ImportError:
        return Report((Comparison(f"{len(samples)} samples", "webdataset is not installed", (), ()),))
    comparisons = []
    for case, decode in (("decoded", True), ("undecoded", False)):
        sides = alternate(_reading(ours, decode), _reading(theirs, decode), repeats)
        comparisons.append(Comparison(f"{len(samples)} samples, {case}", peer, *sides, amount=len(samples), unit="samples/s"))
    digests = tuple((name, *_content(path)) for name, path in (("ours", ours), (peer, theirs)))
    return Report(tuple(comparisons), (FactTable("What was read", ("written by", "samples", "SHA-256 of keys and members"), digests),))


def _reading(tar: Path, decode: bool) -> Callable[[], float]:
    def read() -> None:
        for sample in _samples(tar, decode):
            if decode:
                sample["jpg"].load()

    def measured() -> float:
        seconds = cpu_seconds_of(read)
        gc.collect()  # webdataset leaves closing its tars to the garbage collector: collect before the other side is timed
        return seconds

    return measured


def _samples(tar: Path, decode: bool) -> Iterable[dict[str, Any]]:
    from webdataset import WebDataset

    dataset: Any = WebDataset(str(tar), shardshuffle=False)
    samples: Iterable[dict[str, Any]] = dataset.decode("pil") if decode else dataset
    return samples


def _content(tar: Path) -> tuple[int, str]:
    """Number of samples and the digest of their keys and members, by key and name."""
    found = [
        (sample["__key__"], sorted((name, hashlib.sha256(data).hexdigest()) for name, data in sample.items() if name[0] != "_"))
        for sample in _samples(tar, decode=False)
    ]
    return len(found), hashlib.sha256(repr(found).encode()).hexdigest()[:16]
