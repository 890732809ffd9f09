"""Run by the faiss peer's own interpreter: reads hashes.npy in a folder, writes pairs.npy, and prints the seconds of index and search as
JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np


def main(folder: Path, radius: int, num_threads: int) -> None:
    """Sorted first * count + second of all pairs of distinct hashes within `radius`."""
    import faiss  # this peer's package, absent from the project's own environment

    faiss.omp_set_num_threads(num_threads)
    hashes = np.load(folder / "hashes.npy")
    codes = np.ascontiguousarray(hashes.astype(">u8")).view(np.uint8).reshape(-1, 8)
    started = time.perf_counter()
    index = faiss.IndexBinaryMultiHash(64, 3, 21)
    index.nflip = radius // 3
    index.add(codes)
    limits, _, neighbours = index.range_search(codes, radius + 1)
    seconds = time.perf_counter() - started
    queries = np.repeat(np.arange(len(codes)), np.diff(limits.astype(np.int64)))
    upper = queries < neighbours
    np.save(folder / "pairs.npy", np.unique(queries[upper] * len(codes) + neighbours[upper]))
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
