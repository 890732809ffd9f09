"""Which sources of a run give nothing, for people to read beside the counts of all sources together."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from bioclip import layout
from bioclip.accounting import Counts, explain_drops
from bioclip.parquet import read_batches
from bioclip.partitions import read_stage
from bioclip.releases.manifest import Release
from bioclip.storage import Storage


def unread_sources(storage: Storage) -> dict[str, str]:
    """Source of which every row is dropped -> a sentence with the reasons and the settings that decide them."""
    return {
        partition.name: f"source {partition.name!r}: {_sentence(partition.counts)}."
        for partition in read_stage(storage, "records").partitions
        if not partition.counts.written
    }


def _sentence(counts: Counts) -> str:
    return f"all {counts.read:,} rows are dropped: {explain_drops(counts)}" if counts.read else "it has no row"


def source_remarks(storage: Storage, release: Release) -> Iterator[str]:
    """One sentence for each source without a record, and for each source with records of which none became an image."""
    unread = unread_sources(storage)
    yield from unread.values()
    partitions = read_stage(storage, "records").partitions
    if len(partitions) < 2:
        return
    columns = [batch["source"] for batch in read_batches(release.storage, layout.SAMPLES, ["source"])]
    seen = set(pc.unique(pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string())).to_pylist())
    for partition in partitions:
        if partition.name not in seen | unread.keys():
            yield f"source {partition.name!r}: none of its {partition.counts.written:,} records gives an image; the report lists why."
