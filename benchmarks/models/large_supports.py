"""Top-5 SimpleShot of 50,000 images among 400,000 classes of 512 dimensions with one support image each.

Peer: numpy as it is often written, on a slice of the images: all squared distances in float64 and a stable sort. Its time is multiplied up.
Ours is `fit_classifier` and `rank_queries` of the few-shot task. Each side runs in a process of its own, whose peak memory is the system's
figure. Features are synthetic: random directions as support, and images that resemble theirs. The cost of a million images is ours
multiplied up. CPU seconds of all threads, without making the input.
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
from benchmarks.models.synthetic_taxonomy import photograph, unit_rows
from benchmarks.registry import Context
from bioclip.evaluation.classifiers import Support, fit_classifier, rank_queries

WIDTH, NOISE = 512, 4.0
_MILLION, _GIB, _SHOWN = 1_000_000, 2**30, 50


def run(context: Context) -> Report:
    """Both sides in processes of their own, and the agreement of their answers on the images of the peer."""
    num_images, num_classes, num_peer = (2_000, 20_000, 50) if context.quick else (50_000, 400_000, 50)
    ours, naive = (_measured(side, count, num_classes) for side, count in (("ours", num_images), ("naive", num_peer)))
    case = f"{num_images:,} images, {num_classes:,} classes"
    peer = f"naive numpy, {num_peer} images multiplied up"
    comparison = Comparison(case, peer, (ours["cpu_s"],), (naive["cpu_s"] * num_images / num_peer,), num_images, "images/CPU-s")
    equal = [one == other for one, other in zip(ours["top"], naive["top"], strict=True)]
    facts = (
        ("peak memory, ours, GiB", ours["peak_gib"]),
        (f"peak memory, naive, {num_peer} images, GiB", naive["peak_gib"]),
        ("naive: float64 distances of all images, GiB", num_images * num_classes * 8 / _GIB),
        ("a million images, ours: CPU hours", ours["cpu_s"] * _MILLION / num_images / 3600),
        ("the five best equal to naive numpy's", f"{sum(equal)} of {len(equal)}"),
        ("top-1 and top-5 of ours", f"{ours['top1']:.4f} and {ours['top5']:.4f}"),
    )
    return Report((comparison,), (FactTable("Memory, extrapolation and agreement", ("figure", "value"), facts),))


def _measured(side: str, num_images: int, num_classes: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.models.large_supports", side, str(num_images), str(num_classes)]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    return found


def _work(side: str, num_images: int, num_classes: int) -> dict[str, Any]:
    """The five best of the first images, shares of hits, CPU seconds without making the input, and peak memory."""
    support = unit_rows(num_classes, WIDTH, 2)
    labels = np.random.default_rng(3).integers(num_classes, size=50_000)[:num_images]
    images = np.concatenate([photograph(support, labels[first : first + 50], NOISE, 4 + first) for first in range(0, num_images, 50)])
    started = time.process_time()
    if side == "ours":
        scorer = fit_classifier("simpleshot", Support(support, np.arange(num_classes), num_classes))
        top = rank_queries(scorer, images, labels).top
    else:
        mean = support.mean(axis=0, dtype=np.float64)
        centroids, queries = ((values - mean) / np.linalg.norm(values - mean, axis=1, keepdims=True) for values in (support, images))
        distances = (queries**2).sum(axis=1)[:, None] - 2 * queries @ centroids.T + (centroids**2).sum(axis=1)
        top = np.argsort(distances, axis=1, kind="stable")[:, :5]
    seconds = time.process_time() - started
    hits = top == labels[:, None]
    return {
        "cpu_s": seconds,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _GIB,
        "top": top[:_SHOWN].tolist(),
        "top1": float(hits[:, 0].mean()),
        "top5": float(hits.any(axis=1).mean()),
    }


if __name__ == "__main__":
    print(json.dumps(_work(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
