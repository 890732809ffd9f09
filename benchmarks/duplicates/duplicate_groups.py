"""The whole stage `duplicates`: reading a million images' hashes and thumbnails, the search, the confirmation, groups, writing.

Tables are those of `release_scale` with thumbnails: 5 % of the images are duplicates, a third of them near ones, of which a fifth are
other pictures. Times are CPU seconds of all threads. Peer: none groups such tables; the second time is that of the same stage without the
confirmation (`duplicates.min_correlation: -1`), so the ratio states what the confirmation costs.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.measuring import Comparison, FactTable, Report, alternate, cpu_seconds_of
from benchmarks.registry import Context
from benchmarks.releases.release_tables import write_tables
from benchmarks.releases.release_workspace import make_settings
from bioclip import layout
from bioclip.accounting import Counts
from bioclip.duplicates.stage import plan_duplicates
from bioclip.partitions import PartitionWriter
from bioclip.settings import PipelineSettings
from bioclip.storage import open_workspace

_NUM_PARTITIONS = 50


def run(context: Context) -> Report:
    """Both radii that are defaults: of groups (4) and of the leakage gate (8)."""
    num_images = 20_000 if context.quick else 1_000_000
    settings = make_settings(context.scratch / "workspace", _NUM_PARTITIONS, 10_000, parent="")
    write_tables(open_workspace(settings.workspace), num_images, _NUM_PARTITIONS, has_thumbnails=True)
    comparisons, rows = [], []
    for radius in (4, 8):
        case = f"{num_images:,} images, r={radius}"
        found: dict[float, Counts] = {}

        def group(least: float, radius: int = radius, found: dict[float, Counts] = found) -> float:
            return cpu_seconds_of(lambda: found.update({least: group_images(settings, radius, least)}))

        confirmed = settings.duplicates.min_correlation
        times = alternate(lambda: group(confirmed), lambda: group(-1.0), repeats=1 if context.quick else 5)  # noqa: B023 - called here
        comparisons.append(Comparison(case, "the same without confirmation", *times, amount=num_images, unit="images/s"))
        notes = found[confirmed].notes
        rows.append((case, *(notes.get(name, 0) for name in ("near_pairs", "near_pairs_refused")), found[-1.0].notes["near_pairs"]))
    header = ("case", "near pairs", "refused", "without confirmation")
    return Report(tuple(comparisons), (FactTable("Pairs", header, tuple(rows)),))


def group_images(settings: PipelineSettings, radius: int, min_correlation: float) -> Counts:
    """Run the stage from nothing; returns its counts."""
    changed = settings.duplicates.model_copy(update={"radius": radius, "min_correlation": min_correlation})
    storage = open_workspace(settings.workspace)
    shutil.rmtree(Path(storage.root) / Path(layout.INDEXED_PAIRS).parent, ignore_errors=True)
    [job] = plan_duplicates(storage, settings.model_copy(update={"duplicates": changed}))
    return job.work(storage, PartitionWriter(storage), **job.arguments)
