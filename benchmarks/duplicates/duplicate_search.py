"""All pairs of 64-bit perceptual hashes within a Hamming radius: `bioclip.duplicates.hamming.self_search.near_pairs`.

Peer: faiss-cpu's IndexBinaryMultiHash(64, 3, 21) with nflip = radius // 3, its exact configuration, on all cores; built and queried with
all hashes. It receives the distinct hashes; finding them is part of our time. Hashes have 32 bits set as imagehash's have; 10 % are
near-duplicates of others at 0 to 12 bits. Both must return the same pairs, and at the smaller size those that brute force finds. The hub is
2,000 more hashes within 4 bits of one, as a crowd of nearly equal images gives; the copies are one hash as often as 5 % of all; the crowd
is a hub so large that not all its pairs are compared. At ten million (uniform) hashes only our search runs, in a separate process whose
peak memory is reported.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.measuring import Comparison, FactTable, Report, alternate, num_cores, seconds_of
from benchmarks.registry import Context
from bioclip.duplicates.hamming.self_search import HashArray, IndexArray, near_pairs

_PEER_SCRIPT = Path(__file__).parent / "faiss_pairs.py"
_HUGE = 10_000_000


@dataclass(frozen=True)
class _Case:
    name: str
    hashes: HashArray
    radius: int
    brute: bool
    with_peer: bool = True
    repeats: int = 3


def run(context: Context) -> Report:
    """Times, pairs and recall of each case."""
    small, large, hub = (5_000, 20_000, 300) if context.quick else (100_000, 1_000_000, 2_000)
    sizes = {name: planted_hashes(size, seed) for seed, (name, size) in enumerate({"small": small, "large": large}.items())}
    crowded = with_hub(sizes["small"], hub, seed=2)
    cases = [
        _Case(f"{len(sizes[size]):,} hashes, r={r}", sizes[size], r, size == "small", repeats=1 if (size, r) == ("large", 8) else 3)
        for size in sizes
        for r in (4, 8)
    ]
    cases.append(_Case(f"{small:,} hashes + hub of {hub:,}, r=4", crowded, 4, brute=True))
    rng = np.random.default_rng(3)
    copied = rng.permutation(np.concatenate([sizes["large"], np.repeat(sizes["large"][:1], large // 20)]))
    more = {f"{large // 20:,} copies of one": copied, f"hub of {hub:,}": with_hub(sizes["large"], hub, 4)}
    more[f"crowd of {25 * hub:,}"] = with_hub(sizes["large"], 25 * hub, 5)
    cases += [_Case(f"{large:,} hashes + {name}, r=4", hashes, 4, brute=False, with_peer=False) for name, hashes in more.items()]
    results = [_compare(case, context) for case in cases]
    header = ("case", "pairs", "reference", "recall", "pairs beyond it", "peer's pairs are the same", "comparisons left out")
    facts = [FactTable("Exactness", header, tuple(result[1] for result in results))]
    comparisons = [result[0] for result in results]
    if not context.quick:
        comparison, memory = _alone(context, _HUGE, 4)
        comparisons.append(comparison)
        facts.append(memory)
    return Report(tuple(comparisons), tuple(facts))


def _alone(context: Context, num_hashes: int, radius: int) -> tuple[Comparison, FactTable]:
    """Time and peak memory of a separate process."""
    np.save(context.scratch / "hashes.npy", uniform_hashes(num_hashes, 6))
    command = [sys.executable, "-m", "benchmarks.duplicates.search_alone", str(context.scratch / "hashes.npy"), str(radius)]
    found = [json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(2)]
    case = f"{num_hashes:,} hashes, r={radius}"
    table = FactTable("Memory", ("case", "pairs", "peak memory / GiB"), ((case, found[0]["pairs"], max(one["peak_gib"] for one in found)),))
    return Comparison(case, "not run at this size", tuple(one["seconds"] for one in found), ()), table


def _compare(case: _Case, context: Context) -> tuple[Comparison, tuple[str, int, str, float, int, str, int]]:
    name, python = context.peers.version("faiss", "faiss-cpu"), context.peers.python("faiss")
    python = python if case.with_peer else None
    found: dict[str, IndexArray] = {}
    left_out: list[int] = []
    unique = np.unique(case.hashes)
    np.save(context.scratch / "hashes.npy", unique)

    def ours() -> float:
        def search() -> None:
            pairs = near_pairs(case.hashes, case.radius)
            left_out.append(pairs.num_left_out)
            found["ours"] = pairs.first * len(pairs.unique) + pairs.second

        return seconds_of(search)

    def peer() -> float:
        command = [str(python), str(_PEER_SCRIPT), str(context.scratch), str(case.radius), str(num_cores())]
        finished = subprocess.run(command, check=True, capture_output=True, text=True)
        found["peer"] = np.load(context.scratch / "pairs.npy")
        return float(json.loads(finished.stdout)["seconds"])

    seconds = alternate(ours, peer if python else None, repeats=1 if context.quick else case.repeats)
    if case.brute:
        reference, reference_name = brute_force_pairs(unique, case.radius), "brute force"
    elif "peer" in found:
        reference, reference_name = found["peer"], "peer"
    else:
        reference, reference_name = found["ours"], "none"
    hits = len(np.intersect1d(found["ours"], reference))
    same = str(np.array_equal(found["ours"], found["peer"])) if "peer" in found else "not run"
    recall = hits / len(reference) if len(reference) else 1.0
    facts = (case.name, len(found["ours"]), reference_name, recall, len(found["ours"]) - hits, same, left_out[0])
    absence = f"{name} is not installed" if case.with_peer else "not run on this case"
    return Comparison(case.name, name if python else absence, *seconds), facts


def planted_hashes(num_hashes: int, seed: int) -> HashArray:
    """Shuffled hashes with 32 bits set; the last tenth before shuffling are others with 0 to 12 bits turned."""
    rng = np.random.default_rng(seed)
    num_copies = num_hashes // 10
    originals = np.concatenate([_balanced(rng, min(50_000, num_hashes - low)) for low in range(0, num_hashes - num_copies, 50_000)])
    originals = originals[: num_hashes - num_copies]
    copies = _turned(rng, rng.choice(originals, num_copies), rng.integers(0, 13, num_copies))
    return rng.permutation(np.concatenate([originals, copies]))


def uniform_hashes(num_hashes: int, seed: int) -> HashArray:
    """Shuffled random hashes; a tenth of them are others with at most 12 bits turned."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, num_hashes, dtype=np.uint64)
    copies = rng.choice(hashes, num_hashes // 10)
    num_bits = rng.integers(0, 13, len(copies))
    for turn in range(12):
        copies ^= np.where(turn < num_bits, np.uint64(1) << rng.integers(0, 64, len(copies), dtype=np.uint64), np.uint64(0))
    hashes[: len(copies)] = copies
    rng.shuffle(hashes)
    return hashes


def with_hub(hashes: HashArray, num_crowded: int, seed: int) -> HashArray:
    """The hashes and, shuffled among them, `num_crowded` within 4 bits of the first."""
    rng = np.random.default_rng(seed)
    crowd = _turned(rng, np.repeat(hashes[:1], num_crowded), rng.integers(0, 5, num_crowded))
    return rng.permutation(np.concatenate([hashes, crowd]))


def _balanced(rng: np.random.Generator, count: int) -> HashArray:
    bits = rng.random((count, 64)).argsort(axis=1) < 32
    return np.packbits(bits, axis=1).view(">u8").ravel().astype(np.uint64)


def _turned(rng: np.random.Generator, hashes: HashArray, num_bits: IndexArray) -> HashArray:
    places = rng.random((len(hashes), 64)).argsort(axis=1).astype(np.uint64)
    for turn in range(int(num_bits.max(initial=0))):
        hashes = np.where(turn < num_bits, hashes ^ (np.uint64(1) << places[:, turn]), hashes)
    return hashes


def brute_force_pairs(unique: HashArray, radius: int) -> IndexArray:
    """Sorted first * len(unique) + second of all pairs, by comparing every two."""
    found = []
    for low in range(0, len(unique), 64):
        rows = unique[low : low + 64, None]
        for left in range(low, len(unique), 8192):
            first, second = np.nonzero(np.bitwise_count(rows ^ unique[left : left + 8192]) <= radius)
            first, second = first + low, second + left
            found.append((first * len(unique) + second)[first < second])
    return np.sort(np.concatenate(found)) if found else np.empty(0, np.int64)
