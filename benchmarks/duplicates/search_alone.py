"""Runs in a separate process: finds the pairs of a file of hashes and prints seconds, pairs and peak memory as JSON."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

from bioclip.duplicates.hamming.self_search import near_pairs


def main(path: Path, radius: int) -> None:
    """Search and print; ru_maxrss is in KiB on Linux."""
    hashes = np.load(path)
    started = time.perf_counter()
    pairs = near_pairs(hashes, radius)
    seconds = time.perf_counter() - started
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": seconds, "pairs": len(pairs.first), "left_out": pairs.num_left_out, "peak_gib": peak_gib}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
