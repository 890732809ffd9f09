"""Time of the leakage gate for N training and M evaluation images: `python -m benchmarks.duplicates.leakage 1e6 5e4`."""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import pyarrow as pa

from bioclip.duplicates.hamming.cross_search import HashArray, cross_pairs
from bioclip.leakage import SetFingerprints, find_leaks, gate_table
from bioclip.settings import LeakGuards

_SEED = 17
_PLANTED = 0.1
_MAX_BITS = 12


def balanced_hashes(number: int, rng: np.random.Generator) -> HashArray:
    """Random hashes with 32 bits set, as pHashes have."""
    parts = []
    for low in range(0, number, 100_000):
        order = rng.random((min(100_000, number - low), 64), np.float32).argpartition(32, axis=1)
        bits = np.zeros(order.shape, np.uint8)
        np.put_along_axis(bits, order[:, :32], 1, axis=1)
        parts.append(np.packbits(bits, axis=1).view(">u8").ravel().astype(np.uint64))
    return np.concatenate(parts)


def planted(train: HashArray, number: int, rng: np.random.Generator) -> HashArray:
    """Evaluation hashes, a tenth of them training hashes with 0 to 12 bits flipped."""
    hashes = balanced_hashes(number, rng)
    copies = rng.choice(train, int(number * _PLANTED), replace=False)
    for place in range(len(copies)):
        for bit in rng.choice(64, rng.integers(0, _MAX_BITS + 1), replace=False):
            copies[place] ^= np.uint64(1) << np.uint64(bit)
    hashes[: len(copies)] = copies
    return hashes


def images(prefix: str, hashes: HashArray, rng: np.random.Generator) -> pa.Table:
    """FINGERPRINT_SCHEMA rows whose other columns rarely match."""
    number = len(hashes)
    digests = [f"{value:064x}" for value in rng.integers(0, 2**62, number).tolist()]
    columns = {
        "record_id": [f"{prefix}{row:09d}" for row in range(number)],
        "sha256": digests,
        "pixel_sha256": digests,
        "phash": hashes,
        "occurrence_id": [f"https://observations.example/{value}" for value in rng.integers(0, 2**40, number).tolist()],
        "observer": [f"observer {value}" for value in rng.integers(0, 50_000, number).tolist()],
        "event_date": [f"20{value // 336:02d}-{value // 28 % 12 + 1:02d}-{value % 28 + 1:02d}" for value in rng.integers(0, 8400, number)],
        "species": [f"genus species{value}" for value in rng.integers(0, 200_000, number).tolist()],
        "canonical_name": ["genus species"] * number,
    }
    return gate_table(columns, number)


def main() -> None:
    """Print the time of the search alone at two radii, and of all guards together."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("num_train", type=float)
    parser.add_argument("num_evaluation", type=float)
    parser.add_argument("--search-only", action="store_true", help="skip the other guards, whose tables take memory")
    options = parser.parse_args()
    rng = np.random.default_rng(_SEED)
    train = balanced_hashes(int(options.num_train), rng)
    evaluation = planted(train, int(options.num_evaluation), rng)
    distinct = np.unique(train), np.unique(evaluation)
    for radius in (4, 8):
        start = time.perf_counter()
        pairs = cross_pairs(*distinct, radius)
        print(f"search r={radius}: {time.perf_counter() - start:6.2f} s, {len(pairs.left):,} pairs", flush=True)
    if options.search_only:
        return
    tables = images("t", train, rng), images("e", evaluation, rng)
    start = time.perf_counter()
    leaks = find_leaks(tables[0], [SetFingerprints("set", tables[1], holds_out_species=True)], LeakGuards(), radius=8)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"all guards: {seconds:6.2f} s, {len(leaks.strongest):,} images, {leaks.evidence.num_rows:,} rows of evidence; peak {peak:.1f} GiB"
    )


if __name__ == "__main__":
    main()
