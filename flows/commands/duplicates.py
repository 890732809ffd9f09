"""`treeoflife duplicates`: what is there twice in any collection of pictures, as tables and as a page to look at."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.parquet as pq

from bioclip.duplicates.collection_duplicates import inspect_pictures
from bioclip.duplicates.collection_images import list_pictures
from bioclip.errors import UsageError
from bioclip.parquet import PARQUET_OPTIONS
from bioclip.report.pages.duplicates import render_gallery
from bioclip.settings import PipelineSettings
from bioclip.storage import Storage


def inspect(path: Path, output: Path, settings: PipelineSettings, radius: int | None, max_groups: int) -> int:
    """Write pairs.parquet, groups.parquet and gallery.html below `output` and print the counts; 0."""
    radius = settings.duplicates.radius if radius is None else radius
    if not 0 <= radius <= 12:
        raise UsageError(f"--radius {radius} is refused: the search is exact from 0 to 12 bits of 64.")
    own = settings.duplicates.model_copy(update={"radius": radius})
    inspection = inspect_pictures(list_pictures(path.expanduser()), own, os.cpu_count() or 1, settings.download.full_decode)
    storage = Storage(str(output.expanduser()))
    for name, table in (("pairs", inspection.pairs), ("groups", inspection.groups)):
        with storage.writer(f"{name}.parquet") as stream:
            pq.write_table(table, stream, **PARQUET_OPTIONS)
    storage.write_bytes("gallery.html", render_gallery(path.name or str(path), inspection, radius, max_groups))
    counts = inspection.counts
    print(f"{'pictures':<30} {counts.read:>12,}\n{'hashed':<30} {counts.written:>12,}")
    for name, number in sorted(counts.dropped.items()):
        print(f"  left out: {name:<18} {number:>12,}")
    print(f"{'pairs within ' + str(radius) + ' bits':<30} {inspection.pairs.num_rows:>12,}")
    for name, number in counts.notes.items():
        if number:
            print(f"{name.replace('_', ' '):<30} {number:>12,}")
    print(f"written: {storage.uri('pairs.parquet')}, groups.parquet, gallery.html")
    return 0
