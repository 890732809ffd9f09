"""Top-5 zero-shot classification of 50,000 images among 400,000 species of 512 dimensions, at species, genus and family.

Peer: numpy as it is often written, on a slice of the images: all cosines, a float64 softmax over them, a sum over the species of each genus
and family, and a stable sort. Its time is multiplied up. Ours is `predict` of the task `zero_shot`. Each side runs in a process of its own,
whose peak memory is the system's figure. Features are synthetic: random directions as captions, and images that resemble their species.
The cost of a million images is ours multiplied up. CPU seconds of all threads.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np

from benchmarks.measuring import Comparison, FactTable, Report
from benchmarks.models.synthetic_taxonomy import make_classes, photograph, unit_rows
from benchmarks.registry import Context
from bioclip.evaluation.rank_rollup import taxa_at
from bioclip.evaluation.tasks.zero_shot import predict

SCALE, WIDTH, NOISE, RANKS = 100.0, 512, 4.0, ("family", "genus", "species")
_MILLION, _GIB = 1_000_000, 2**30


def run(context: Context) -> Report:
    """Both sides in processes of their own, and the agreement of their answers on the images of the peer."""
    num_images, num_classes, num_peer = (2_000, 20_000, 50) if context.quick else (50_000, 400_000, 100)
    ours, naive = (_measured(side, count, num_classes) for side, count in (("ours", num_images), ("naive", num_peer)))
    times = num_images / num_peer
    case = f"{num_images:,} images, {num_classes:,} species, 3 ranks"
    peer = f"naive numpy, {num_peer} images multiplied up"
    comparison = Comparison(case, peer, (ours["cpu_s"],), (naive["cpu_s"] * times,), num_images, "images/CPU-s")
    hours = ours["cpu_s"] * _MILLION / num_images / 3600
    facts = [
        ("peak memory, ours, GiB", ours["peak_gib"]),
        (f"peak memory, naive, {num_peer} images, GiB", naive["peak_gib"]),
        ("naive: float64 scores of all images, GiB", num_images * num_classes * 8 / _GIB),
        ("a million images, ours: CPU hours; features of images in memory, GiB", f"{hours:.2f}; {_MILLION * WIDTH * 4 / _GIB:.2f}"),
    ]
    for rank in RANKS:
        equal = [one == other for one, other in zip(ours["top"][rank], naive["top"][rank], strict=True)]
        facts.append((f"{rank}: the five best equal to naive numpy's", f"{sum(equal)} of {len(equal)}"))
        facts.append((f"{rank}: top-1 and top-5 of ours", f"{ours['top1'][rank]:.4f} and {ours['top5'][rank]:.4f}"))
    return Report((comparison,), (FactTable("Memory, extrapolation and agreement", ("figure", "value"), tuple(facts)),))


def _measured(side: str, num_images: int, num_classes: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.models.large_label_sets", side, str(num_images), str(num_classes)]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    return found


def _work(side: str, num_images: int, num_classes: int) -> dict[str, Any]:
    """The five best of the first 50 images by rank, shares of hits, CPU seconds without making the input, and peak memory."""
    classes, heads = make_classes(num_classes, 1), unit_rows(num_classes, WIDTH, 2)
    labels = np.random.default_rng(3).integers(num_classes, size=50_000)[:num_images]
    images = np.concatenate([photograph(heads, labels[first : first + 50], NOISE, 4 + first) for first in range(0, num_images, 50)])
    started = time.process_time()
    if side == "ours":
        answers = {str(one.parameters["rank"]): one for one in predict(images, heads, SCALE, labels, classes, RANKS, "taxon", 2)}
        top = {rank: answers[rank].top for rank in RANKS}
        truth = {rank: answers[rank].truth for rank in RANKS}
    else:
        exponents = SCALE * (images @ heads.T).astype(np.float64)
        weights = np.exp(exponents - exponents.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        taxa = {rank: taxa_at(classes, rank) for rank in RANKS}
        sums = {rank: np.add.reduceat(weights, taxa[rank].starts, axis=1) for rank in RANKS}
        top = {rank: np.argsort(-sums[rank], axis=1, kind="stable")[:, :5] for rank in RANKS}
        truth = {rank: taxa[rank].of_species[labels] for rank in RANKS}
    seconds = time.process_time() - started
    hits = {rank: top[rank] == truth[rank][:, None] for rank in RANKS}
    return {
        "cpu_s": seconds,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _GIB,
        "top": {rank: top[rank][:50].tolist() for rank in RANKS},
        "top1": {rank: float(hits[rank][:, 0].mean()) for rank in RANKS},
        "top5": {rank: float(hits[rank].any(axis=1).mean()) for rank in RANKS},
    }


if __name__ == "__main__":
    print(json.dumps(_work(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
