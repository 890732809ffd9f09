"""Cost of an incremental release: 100,000 images, then 1 % new and 10 withdrawn.

For two sizes of shards: bytes of the new release, bytes that it wrote itself, and whether every shard of the old one still has
its digest. Images, names and groups are written directly (see benchmarks/releases/release_workspace.py); the product builds the
release. Peers: none, other pipelines rewrite a release completely, which is the first release of each size.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from benchmarks.measuring import FactTable, Report, num_cores, seconds_of
from benchmarks.registry import Context
from benchmarks.releases.release_workspace import make_settings, release, write_workspace
from bioclip.releases.diff import compare_releases
from bioclip.releases.locating import open_release
from bioclip.releases.manifest import Release
from bioclip.storage import Storage
from bioclip.verification.verify import verify_release

_NEW_SHARE, _NUM_WITHDRAWN = 0.01, 10


@dataclass(frozen=True)
class _Made:
    """A release, its build time in seconds, and the digests of its tars read back from storage."""

    release: Release
    seconds: float
    digests: dict[str, str]


def run(context: Context) -> Report:
    """100,000 images, shards of 50 samples and of the default size (0: a thousandth of the release); `--quick`: 1,200, 5 and 50."""
    num_images, num_partitions, sizes = (1_200, 4, (5, 50)) if context.quick else (100_000, 16, (50, 0))
    num_new, draw = round(num_images * _NEW_SHARE), random.Random(17)
    withdrawn = set(draw.sample(range(num_images), _NUM_WITHDRAWN))
    storage, num_pictures = Storage(str(context.scratch / "workspace")), max(20, num_images // 50)
    num_processes = 1 if context.quick else num_cores()

    def make(size: int, parent: str) -> _Made:
        settings = make_settings(storage.root, num_partitions, size, parent)
        seconds = seconds_of(lambda: release(settings, num_processes))
        made = open_release(storage, "latest")
        return _Made(made, seconds, _digests(made))

    write_workspace(storage, range(num_images), num_partitions, num_pictures)
    first = {size: make(size, "") for size in sizes}
    write_workspace(storage, sorted(set(range(num_images + num_new)) - withdrawn), num_partitions, num_pictures)
    second = {size: make(size, first[size].release.version) for size in sizes}
    rows = tuple(row for size in sizes for row in _rows(size, first[size], second[size]))
    header = ("samples a shard", "release", "samples", "shards", "MB", "MB written", "% written", "s", "old shards' digests")
    shards = tuple((size or "default", *_shards(first[size].release, second[size].release)) for size in sizes)
    title = f"{num_images:,} images, then {num_new:,} new and {_NUM_WITHDRAWN} withdrawn"
    counts = ("samples a shard", "kept", "rewritten", "added", "samples added", "samples removed")
    return Report((), (FactTable(title, header, rows), FactTable("Shards of the second release", counts, shards)))


def _digests(made: Release) -> dict[str, str]:
    return {name: made.storage.digest(name)[0] for split in made.manifest["splits"] for name in made.shards(split)}


def _rows(size: int, first: _Made, second: _Made) -> list[tuple[Any, ...]]:
    if verify_release(second.release.storage).findings:
        raise RuntimeError("the second release is not sound")
    unchanged = _digests(first.release) == first.digests
    rows: list[tuple[Any, ...]] = []
    for name, one, note in (("first", first, ""), ("second", second, "unchanged" if unchanged else "CHANGED")):
        files = {file: num_bytes for file, (_, num_bytes) in one.release.files().items()}
        own = sum(num_bytes for file, num_bytes in files.items() if not file.startswith("../"))
        total = sum(files.values())
        num_samples = sum(one.release.num_samples(split) for split in one.release.manifest["splits"])
        share = f"{100 * own / total:.2f}"
        rows.append(
            (
                size or "default",
                name,
                num_samples,
                len(one.digests),
                round(total / 1e6),
                f"{own / 1e6:.1f}",
                share,
                round(one.seconds, 1),
                note,
            )
        )
    return rows


def _shards(first: Release, second: Release) -> tuple[int, ...]:
    found = compare_releases(first, second)
    return found.shards_kept, found.shards_rewritten, found.shards_added, sum(found.added.values()), sum(found.removed.values())
