"""Differences between two releases: samples, labels, splits, shards, bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from bioclip import layout
from bioclip.parquet import open_sorted
from bioclip.records import RANKS, partition_bounds
from bioclip.releases.manifest import Release, workspace_name

UNKNOWN = "not_in_release"
"""Reason of a sample whose record is not in the other release: it was added or withdrawn before the stage `images`."""
_SAMPLES, _SLICE_ROWS = layout.SAMPLES, 65_536
_LABEL = (*RANKS, "resolved_rank", "common_name", "accepted_id")
_CONTENT = (
    "sha256", "width", "height", "source", "source_id", "occurrence_id", "media_url", "license", "rights_holder", "creator",
)  # fmt: skip


@dataclass(frozen=True)
class ReleaseDifference:
    """Counts of samples and shards. `added` is by the reason for which the older release lacks them, `removed` likewise for the newer one.

    `moved` is by (split, split); `relabelled` and `changed` (bytes, licence, provenance) are of samples in both, and may overlap.
    `num_new_bytes` are of files that the older release does not use.
    """

    num_common: int
    added: Mapping[str, int]
    removed: Mapping[str, int]
    moved: Mapping[tuple[str, str], int]
    relabelled: int
    changed: int
    shards_kept: int
    shards_rewritten: int
    shards_added: int
    shards_gone: int
    num_bytes: int
    num_new_bytes: int


@dataclass
class _DifferenceCounts:
    """Counts that are summed slice by slice."""

    num_common: int = 0
    relabelled: int = 0
    changed: int = 0
    added: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    moved: Counter[tuple[str, str]] = field(default_factory=Counter)
    homes: set[str] = field(default_factory=set)
    """Shards of the newer release with samples of the older one."""

    def add(self, before: pa.Table, after: pa.Table) -> None:
        """Count the rows of both releases with record ids in one range."""
        was, now = pc.not_equal(before["split"], ""), pc.not_equal(after["split"], "")
        old, new = before.filter(was), after.filter(now)
        _count(self.added, _why(new, old, before))
        _count(self.removed, _why(old, new, after))
        places = pc.index_in(new["record_id"], value_set=old["record_id"])
        two, one = new.filter(pc.is_valid(places)), old.take(pc.drop_null(places))
        self.num_common += one.num_rows
        self.relabelled += _num_differing(one, two, _LABEL)
        self.changed += _num_differing(one, two, _CONTENT)
        self.homes.update(pc.unique(two["shard"]).to_pylist())
        pairs = pa.table([one["split"], two["split"]], ["one", "two"]).group_by(["one", "two"]).aggregate([([], "count_all")])
        self.moved.update({(row["one"], row["two"]): row["count_all"] for row in pairs.to_pylist() if row["one"] != row["two"]})


def compare_releases(older: Release, newer: Release) -> ReleaseDifference:
    """Differences in samples and shards between `older` and `newer`; memory holds a slice of the record ids of both."""
    found = _DifferenceCounts()
    columns = ("split", "shard", "drop_reason", *_LABEL, *_CONTENT)
    with open_sorted(older.storage, _SAMPLES, columns) as before, open_sorted(newer.storage, _SAMPLES, columns) as after:
        num_slices = -(-max(before.num_rows, after.num_rows, 1) // _SLICE_ROWS)
        for index in range(num_slices):
            first, following = partition_bounds(index, num_slices)
            found.add(before.between(first, following), after.between(first, following))
    kept, rewritten, new, gone = _shards(older, newer, found.homes)
    before_files, after_files = _files(older), _files(newer)
    return ReleaseDifference(
        num_common=found.num_common,
        added=dict(sorted(found.added.items())),
        removed=dict(sorted(found.removed.items())),
        moved=dict(sorted(found.moved.items())),
        relabelled=found.relabelled,
        changed=found.changed,
        shards_kept=kept,
        shards_rewritten=rewritten,
        shards_added=new,
        shards_gone=gone,
        num_bytes=sum(after_files.values()),
        num_new_bytes=sum(num_bytes for name, num_bytes in after_files.items() if name not in before_files),
    )


def _why(samples: pa.Table, others: pa.Table, rows: pa.Table) -> pa.ChunkedArray:
    """Reasons for which the other release, with samples `others` among its `rows`, lacks some of `samples`."""
    missing = samples["record_id"].filter(pc.invert(pc.is_in(samples["record_id"], value_set=others["record_id"])))
    return pc.fill_null(rows["drop_reason"].take(pc.index_in(missing, value_set=rows["record_id"])), UNKNOWN)


def _num_differing(one: pa.Table, two: pa.Table, columns: tuple[str, ...]) -> int:
    """Rows that differ in one of `columns`; null differs from every value."""
    differ = pa.scalar(False)
    for name in columns:
        is_other = pc.fill_null(pc.not_equal(one[name], two[name]), pc.xor(pc.is_null(one[name]), pc.is_null(two[name])))
        differ = pc.or_(differ, is_other)
    return int(pc.sum(differ).as_py() or 0)


def _count(counter: Counter[str], values: pa.ChunkedArray) -> None:
    for entry in pc.value_counts(values).to_pylist():
        counter[entry["values"]] += entry["counts"]


def _shards(older: Release, newer: Release, homes: set[str]) -> tuple[int, int, int, int]:
    """Shards kept, rewritten (new ones with samples of a removed shard), added, and removed."""
    before, after = (
        {workspace_name(release.version, name) for split in release.manifest["splits"] for name in release.shards(split)}
        for release in (older, newer)
    )
    rewritten = (after - before) & {workspace_name(newer.version, name) for name in homes}
    return len(after & before), len(rewritten), len(after - before - rewritten), len(before - after)


def _files(release: Release) -> dict[str, int]:
    """Bytes of every file, by name within the workspace."""
    return {workspace_name(release.version, name): num_bytes for name, (_, num_bytes) in release.files().items()}
