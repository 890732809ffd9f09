"""A release with a parent, whose build is killed with kill -9 at random moments, and which is then corrupted at random.

Kills: after each completed build, all files must equal those of an undisturbed build, and any other file must be listed by `gc`.
Corruptions: bits flipped, files cut, extended, zeroed in part, swapped, removed, manifests edited and sealed again, and forgeries, in which
all statements on the changed content were changed too; `verify --deep` must find each. Peer: none makes such a guarantee.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import FactTable, Report
from benchmarks.registry import Context
from benchmarks.releases.release_forgeries import FORGERIES, forge
from benchmarks.releases.release_workspace import make_settings, release, write_workspace
from bioclip import layout
from bioclip.digests import digest_bytes, digest_path, readable_json
from bioclip.releases.garbage import HALF_WRITTEN, delete_garbage, find_garbage
from bioclip.releases.manifest import Release
from bioclip.settings.loading import build_settings
from bioclip.storage import Storage
from bioclip.verification.verify import verify_release

_NUM_PARTITIONS, _SAMPLES_PER_SHARD, _NUM_PROCESSES = 4, 40, 2
_READY, _START_S, _BUILD_S = "ready", 60, 300
_MAX_BUILDS = 100


@dataclass
class Kills:
    """Result: kills of running builds, completed builds, and leftovers by reason."""

    num_kills: int = 0
    num_builds: int = 0
    leftovers: Counter[str] | None = None


def prepare(folder: Path, num_images: int) -> Release:
    """A workspace with a release, whose tables then gained 5 % more images and lost five."""
    storage = Storage(str(folder))
    write_workspace(storage, range(num_images), _NUM_PARTITIONS, 20)
    first = release(_settings(folder))
    write_workspace(storage, range(5, num_images + num_images // 20), _NUM_PARTITIONS, 20)
    return first


def _settings(folder: Path) -> Any:
    return make_settings(folder, _NUM_PARTITIONS, _SAMPLES_PER_SHARD)


def build(folder: Path) -> subprocess.Popen[str]:
    """A process, leader of its own group, that has imported everything and starts building the release."""
    command = [sys.executable, "-m", "benchmarks.releases.release_faults", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True, cwd=Path(__file__).parents[2])
    assert process.stdout is not None
    with process.stdout as output:
        said = output.readline().strip()
    if said != _READY:
        raise RuntimeError(f"the build did not start: exit code {process.wait(_START_S)}")
    return process


def kill_builds(scratch: Path, num_images: int, num_kills: int, seed: int = 17) -> Kills:
    """Rebuild from the same state until enough kills hit a running build; raises RuntimeError if a result differs."""
    prepared, calm = scratch / "prepared", scratch / "calm"
    prepare(prepared, num_images)
    shutil.copytree(prepared, calm)
    undisturbed = build(calm)
    started = time.monotonic()
    _finish(undisturbed)
    calm_s, wanted = time.monotonic() - started, _files(calm)
    done, draw = Kills(leftovers=Counter()), random.Random(seed)
    while done.num_kills < num_kills and done.num_builds < _MAX_BUILDS:
        torn = scratch / "torn"
        shutil.copytree(prepared, torn)
        while done.num_kills < num_kills and not _kill(build(torn), draw.uniform(0, calm_s)):
            done.num_kills += 1
        _finish(build(torn))
        done.num_builds += 1
        _compare(torn, wanted, done)
        shutil.rmtree(torn)
    if done.num_kills < num_kills:
        raise RuntimeError(f"only {done.num_kills} kills met a build in {done.num_builds} builds")
    return done


def _kill(process: subprocess.Popen[str], after_s: float) -> bool:
    """Kill a build and its workers after the given time; True if it had ended before."""
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False
    return True


def _finish(process: subprocess.Popen[str]) -> None:
    if code := process.wait(_BUILD_S):
        raise RuntimeError(f"a build ended with exit code {code}")


def _files(folder: Path) -> dict[str, str]:
    """Digest of every file, also of hidden ones."""
    return {path.relative_to(folder).as_posix(): digest_path(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def _compare(torn: Path, wanted: dict[str, str], done: Kills) -> None:
    found, storage = _files(torn), Storage(str(torn))
    if {name: found.get(name) for name in wanted} != wanted:
        raise RuntimeError(f"a killed build ended otherwise: {[name for name in wanted if found.get(name) != wanted[name]][:3]}")
    garbage = find_garbage(storage)
    if {one.name for one in garbage} != found.keys() - wanted.keys():
        raise RuntimeError(f"gc and the leftovers differ: {sorted({one.name for one in garbage} ^ (found.keys() - wanted.keys()))[:3]}")
    assert done.leftovers is not None
    done.leftovers.update(one.reason for one in garbage)
    delete_garbage(storage, garbage)
    if _files(torn) != wanted:
        raise RuntimeError("gc left something, or took too much")


Corruption = Callable[[Path, random.Random], None]


def _flip(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def _truncate(path: Path, draw: random.Random) -> None:
    os.truncate(path, draw.randrange(path.stat().st_size))


def _extend(path: Path, draw: random.Random) -> None:
    path.write_bytes(path.read_bytes() + bytes(draw.randrange(1, 1024)))


def _overwrite(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    place = draw.randrange(len(data))
    data[place : place + 512] = draw.randbytes(len(data[place : place + 512]))
    path.write_bytes(data)


def _remove(path: Path, draw: random.Random) -> None:
    path.unlink()


CORRUPTIONS: dict[str, Corruption] = {"flip": _flip, "truncate": _truncate, "extend": _extend, "overwrite": _overwrite, "remove": _remove}
FORGED = "forge and seal"
KINDS = (*CORRUPTIONS, "swap", "edit and seal", FORGED)


def corrupt(made: Release, kind: str, draw: random.Random) -> tuple[str, Callable[[], None]]:
    """Corrupt the release; returns a description and a function that restores it."""
    root = Path(made.storage.root)
    if kind == FORGED:
        return _forge(made, draw)
    names = sorted([*made.files(), layout.MANIFEST, layout.SEAL])
    chosen = draw.sample(names, 2) if kind == "swap" else [draw.choice(names)]
    chosen = [layout.MANIFEST, layout.SEAL] if kind == "edit and seal" else chosen
    paths = [Path(made.storage.uri(name)) for name in chosen]
    former = [path.read_bytes() for path in paths]
    what = kind
    if kind == "swap":
        paths[0].write_bytes(former[1])
        paths[1].write_bytes(former[0])
    elif kind == "edit and seal":
        what = _edit(root, draw)
    else:
        CORRUPTIONS[kind](paths[0], draw)

    def undo() -> None:
        for path, data in zip(paths, former, strict=True):
            path.write_bytes(data)

    return f"{what} {' '.join(chosen)}", undo


def _forge(made: Release, draw: random.Random) -> tuple[str, Callable[[], None]]:
    paths = [Path(made.storage.uri(name)) for name in [*made.files(), layout.MANIFEST, layout.SEAL]]
    former = [path.read_bytes() for path in paths]
    what = draw.choice(list(FORGERIES))
    forge(Path(made.storage.root), what, draw)

    def undo() -> None:
        for path, data in zip(paths, former, strict=True):
            path.write_bytes(data)

    return what, undo


def _edit(root: Path, draw: random.Random) -> str:
    """Change a number or digest in the manifest, and seal it again, like an informed attacker."""
    manifest = json.loads((root / layout.MANIFEST).read_bytes())
    shards = [shard for split in manifest["splits"].values() for shard in split["shards"]]
    files = list(manifest["files"].values())
    stated, key = draw.choice(
        [
            (draw.choice(shards), draw.choice(["sha256", "num_bytes", "num_samples", "name"])),
            (draw.choice(files), draw.choice(["sha256", "num_bytes"])),
            (draw.choice(list(manifest["splits"].values())), "num_samples"),
            (manifest["counts"]["release"], draw.choice(["read", "written"])),
            (manifest["settings"]["shards"], "image_px"),
            (manifest, draw.choice(["version", "name"])),
        ]
    )
    value = stated[key]
    stated[key] = value + draw.choice([-1, 1]) if isinstance(value, int) else digest_bytes(value.encode())[: len(value)]
    data = readable_json(manifest)
    (root / layout.MANIFEST).write_bytes(data)
    (root / layout.SEAL).write_text(f"{digest_bytes(data)}  {layout.MANIFEST}\n")
    return f"edit {key} and seal"


def corrupt_release(made: Release, number: int, seed: int = 20) -> dict[str, tuple[int, int, int]]:
    """Kind -> (corruptions, found by the plain check, found by the deep one); raises RuntimeError for one that the deep check misses."""
    draw, counts = random.Random(seed), {kind: [0, 0, 0] for kind in KINDS}
    while sum(count[0] for count in counts.values()) < number:
        kind = draw.choice(KINDS)
        what, undo = corrupt(made, kind, draw)
        plain, deep = (bool(_findings(made.storage, is_deep)) for is_deep in (False, True))
        undo()
        if not deep:
            raise RuntimeError(f"not found: {what}")
        counts[kind] = [one + more for one, more in zip(counts[kind], (1, plain, deep), strict=True)]
    if _findings(made.storage, True):
        raise RuntimeError("the release was not restored")
    return {kind: (count[0], count[1], count[2]) for kind, count in counts.items()}


def small_release(folder: Path) -> Release:
    """120 images with the pHash of their pictures, in a release that keeps its parent's shards. The pictures are so few that all are
    near duplicates of each other: the gate ignores that."""
    tree = _settings(folder).model_dump(include={"workspace", "ingest", "release", "shards"})
    settings = build_settings({**tree, "leakage": {"guards": {"near": False}}})
    for numbers in (range(120), range(5, 126)):
        write_workspace(Storage(str(folder)), numbers, _NUM_PARTITIONS, 20, true_phash=True)
        made = release(settings)
    return made


def _findings(storage: Storage, deep: bool) -> bool:
    """A missing manifest is a clear error, and is found."""
    if not storage.exists(layout.MANIFEST):
        return True
    return bool(verify_release(storage, deep).findings)


def run(context: Context) -> Report:
    """50 kills and 1,000 corruptions; 3 and 30 with `--quick`."""
    num_images, num_kills, num_corruptions = (400, 3, 30) if context.quick else (2_000, 50, 1_000)
    kills = kill_builds(context.scratch, num_images, num_kills)
    leftovers = Counter(kills.leftovers)
    found = corrupt_release(small_release(context.scratch / "small"), num_corruptions)
    killed = (kills.num_kills, kills.num_builds, "identical", leftovers[HALF_WRITTEN], leftovers.total() - leftovers[HALF_WRITTEN])
    rows = tuple((kind, *numbers) for kind, numbers in found.items())
    total = ("all", *(sum(numbers[at] for numbers in found.values()) for at in range(3)))
    return Report(
        (),
        (
            FactTable(
                "Builds killed with kill -9",
                ("kills", "builds ended", "beside an undisturbed one", "half-written files listed by gc", "others"),
                (killed,),
            ),
            FactTable("Corruptions of a release", ("kind", "done", "found by verify", "found by verify --deep"), (*rows, total)),
        ),
    )


if __name__ == "__main__":
    print(_READY, flush=True)
    release(_settings(Path(sys.argv[1])), _NUM_PROCESSES)
