"""Differences between two snapshots of one source: records added, changed (and in which columns), withdrawn, unchanged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import compute as pc

from bioclip.errors import SettingsError, StorageError, UnknownNameError
from bioclip.partitions import OutputFile, run_partition
from bioclip.records import partition_bounds
from bioclip.schemas import RECORD_SCHEMA
from bioclip.settings import PipelineSettings, SourceSettings, WorkspaceSettings
from bioclip.sources.external.scratch import scratch_folder
from bioclip.sources.snapshots import list_snapshots, read_snapshot
from bioclip.sources.stage import plan_records
from bioclip.storage import Storage, open_workspace, state_dir

ADDED, CHANGED, WITHDRAWN = "added", "changed", "withdrawn"
DIFFERENCE_SCHEMA = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in ("record_id", "change", "source_id", "media_url")]
    + [pa.field("columns", pa.list_(pa.string()), nullable=False)]
)
"""One row per record that differs, sorted by record_id; `columns` lists the differing columns of changed records."""

_COMPARED = [name for name in RECORD_SCHEMA.names if name not in {"record_id", "lineage_id"}]


@dataclass
class Differences:
    """Counts of a comparison; `columns` counts the changed records in which each column differs."""

    added: int = 0
    changed: int = 0
    withdrawn: int = 0
    unchanged: int = 0
    columns: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class RecordFiles:
    """The record partitions of one snapshot, in order of record id."""

    storage: Storage
    outputs: tuple[OutputFile, ...]

    def range(self, index: int, num_ranges: int) -> pa.Table:
        """The records whose ids are in the index-th of `num_ranges` equal ranges, sorted by record id."""
        first, following = partition_bounds(index, num_ranges)
        num_files = len(self.outputs)
        touched = range(index * num_files // num_ranges, min(-(-(index + 1) * num_files // num_ranges), num_files))
        tables = [RECORD_SCHEMA.empty_table()]
        for place in touched:
            with self.storage.reader(self.outputs[place].name) as stream:
                table = pq.read_table(stream)
            identifiers = table["record_id"]
            tables.append(table.filter(pc.and_(pc.greater_equal(identifiers, first), pc.less(identifiers, following))))
        return pa.concat_tables(tables).combine_chunks()


def compare_records(before: RecordFiles, after: RecordFiles, counts: Differences) -> Iterator[pa.Table]:
    """DIFFERENCE_SCHEMA tables, range by range of record ids; memory holds one range of each. Updates `counts`."""
    num_ranges = max(len(before.outputs), len(after.outputs), 1)
    for index in range(num_ranges):
        yield _compare(before.range(index, num_ranges), after.range(index, num_ranges), counts)


def write_differences(before: RecordFiles, after: RecordFiles, path: Path | None) -> Differences:
    """Compare, and write the differing records atomically to a Parquet file if a path is given."""
    counts = Differences()
    if path is None:
        for _ in compare_records(before, after, counts):
            continue
        return counts
    storage = Storage(str(path.absolute().parent))
    with storage.writer(path.name) as stream, pq.ParquetWriter(stream, DIFFERENCE_SCHEMA, compression="zstd") as writer:
        for table in compare_records(before, after, counts):
            writer.write_table(table)
    return counts


def _compare(before: pa.Table, after: pa.Table, counts: Differences) -> pa.Table:
    found = pc.index_in(after["record_id"], value_set=before["record_id"].combine_chunks()).combine_chunks()
    is_new = found.is_null()
    is_gone = pc.invert(pc.is_in(before["record_id"], value_set=after["record_id"].combine_chunks()))
    added, withdrawn = after.filter(is_new), before.filter(is_gone)
    old, new = before.take(found.drop_null()), after.filter(pc.invert(is_new))
    differs = {name: _differs(old[name], new[name]) for name in _COMPARED}
    is_changed = np.logical_or.reduce(list(differs.values())) if new.num_rows else np.zeros(0, bool)
    for name, where in differs.items():
        counts.columns[name] += int(where.sum())
    counts.added += added.num_rows
    counts.withdrawn += withdrawn.num_rows
    counts.changed += int(is_changed.sum())
    counts.unchanged += int((~is_changed).sum())
    lists = [[name for name in _COMPARED if differs[name][row]] for row in np.flatnonzero(is_changed)]
    changed = new.filter(pa.array(is_changed))
    tables = [
        _rows(added, ADDED, [[]] * added.num_rows),
        _rows(withdrawn, WITHDRAWN, [[]] * withdrawn.num_rows),
        _rows(changed, CHANGED, lists),
    ]
    return pa.concat_tables(tables).sort_by("record_id")


def _rows(table: pa.Table, change: str, columns: Sequence[list[str]]) -> pa.Table:
    kept = {name: table[name] for name in ("record_id", "source_id", "media_url")}
    values: dict[str, Any] = kept | {
        "change": pa.repeat(pa.scalar(change), table.num_rows),
        "columns": pa.array(columns, pa.list_(pa.string())),
    }
    return pa.table({name: values[name] for name in DIFFERENCE_SCHEMA.names}, schema=DIFFERENCE_SCHEMA)


def _differs(old: Any, new: Any) -> np.ndarray:
    """Where two columns of equal length differ; two nulls are equal."""
    if pa.types.is_map(old.type):
        return _map_differs(old.combine_chunks(), new.combine_chunks())
    unequal = pc.fill_null(pc.not_equal(old, new), False)
    one_null = pc.xor(pc.is_null(old), pc.is_null(new))
    return np.asarray(pc.or_(unequal, one_null).to_numpy(), bool)


def _map_differs(old: pa.MapArray, new: pa.MapArray) -> np.ndarray:
    """Where two columns of sorted maps differ; values are compared where the sizes are equal."""
    old_starts, new_starts = old.offsets.to_numpy().astype(np.int64), new.offsets.to_numpy().astype(np.int64)
    sizes, new_sizes = np.diff(old_starts), np.diff(new_starts)
    differs = sizes != new_sizes
    rows = np.repeat(np.arange(len(sizes)), np.where(differs, 0, sizes))
    within = np.arange(len(rows)) - np.repeat(
        np.cumsum(np.where(differs, 0, sizes)) - np.where(differs, 0, sizes), np.where(differs, 0, sizes)
    )
    olds, news = pa.array(old_starts[rows] + within), pa.array(new_starts[rows] + within)
    for part in ("keys", "items"):
        unequal = pc.not_equal(getattr(old, part).take(olds), getattr(new, part).take(news)).to_numpy(zero_copy_only=False)
        differs[rows[unequal.astype(bool)]] = True
    return np.asarray(differs, bool)


def compare_snapshots(
    settings: PipelineSettings, names: list[str], source: str = "", output: Path | None = None
) -> tuple[str, str, Differences]:
    """(name of the older, name of the newer, counts).

    `names` are two snapshot ids or archive paths, the older first; none: the last two snapshots, by date, of `source` in the workspace.
    Archives are read with the settings of `source` (optional if there is only one). `output` is a Parquet file.
    Raises SettingsError, StorageError, ArchiveError.
    """
    chosen = _source(settings, source)
    if not names:
        snapshots = list_snapshots(open_workspace(settings.workspace), chosen.name)
        if len(snapshots) < 2:
            raise StorageError(f"source {chosen.name!r} has {len(snapshots)} snapshots in {settings.workspace.uri!r}; two are required.")
        names = [snapshot.snapshot for snapshot in snapshots[-2:]]
    if len(names) != 2:
        raise SettingsError(f"sources diff takes two snapshots or archives, or none with --source; got {len(names)}.")
    with ExitStack() as stack:
        before, after = (stack.enter_context(_record_files(settings, chosen, name)) for name in names)
        return names[0], names[1], write_differences(before, after, output)


def _source(settings: PipelineSettings, name: str) -> SourceSettings:
    if not name and len(settings.sources) == 1:
        return settings.sources[0]
    known = [source.name for source in settings.sources]
    if not name:
        raise SettingsError(f"the settings name {len(known)} sources ({', '.join(known) or 'none'}); choose one with --source NAME.")
    if name not in known:
        raise UnknownNameError("source", name, known)
    return settings.sources[known.index(name)]


@contextmanager
def _record_files(settings: PipelineSettings, source: SourceSettings, name: str) -> Iterator[RecordFiles]:
    """The records of a snapshot id, or of an archive, which is read into a scratch workspace for the duration of the block."""
    if not Path(name).exists():
        storage = open_workspace(settings.workspace)
        yield RecordFiles(storage, read_snapshot(storage, source.name, name).outputs)
        return
    with scratch_folder(state_dir(settings.workspace) / "scratch") as scratch:
        state = str(state_dir(settings.workspace))
        workspace = WorkspaceSettings(uri=str(scratch / "workspace"), state_dir=state)
        archive = source.model_copy(update={"path": name})
        reading = settings.model_copy(update={"workspace": workspace, "sources": (archive,)})
        storage = open_workspace(workspace)
        [job] = plan_records(storage, reading)
        yield RecordFiles(storage, run_partition(job).manifest.outputs)
