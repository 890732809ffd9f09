"""The stage `records`: reads every source's archive into partitions of records, with memory independent of the archive's size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc

from bioclip import layout
from bioclip.accounting import Counts
from bioclip.digests import digest_value
from bioclip.errors import ArchiveError, SettingsError
from bioclip.licenses import normalize_license
from bioclip.partitions import PartitionJob, PartitionWriter
from bioclip.records import Record
from bioclip.schemas import RECORD_SCHEMA
from bioclip.settings import IngestSettings, PipelineSettings, SourceSettings, meaningful
from bioclip.sources import Dropped, Noted, source_format
from bioclip.sources.contract import Item
from bioclip.sources.digest_cache import DigestCache
from bioclip.sources.external.scratch import scratch_folder
from bioclip.sources.external.spill import Spill
from bioclip.sources.filters import keep_wanted
from bioclip.sources.parsing.columns import complete_table, records_columns
from bioclip.sources.parsing.prefetch import Prefetched
from bioclip.sources.record_ids import LineageIds, digest_ids, digest_partitions, record_digests
from bioclip.sources.snapshots import snapshot_id, write_snapshot
from bioclip.storage import Storage, state_dir
from bioclip.withdrawals import WITHDRAWN, Withdrawals, read_withdrawals

STAGE = "records"
_VERSION = 5
_ROWS_PER_BATCH = 4096


def plan_records(storage: Storage, settings: PipelineSettings) -> list[PartitionJob]:
    """One job per source. Raises ArchiveError for a missing archive, UnknownNameError, SettingsError."""
    if not settings.sources:
        raise SettingsError("sources is empty; name at least one archive with name, format and path.")
    withdrawals, state = read_withdrawals(storage, settings.ingest), state_dir(settings.workspace)
    cache = DigestCache(state / layout.ARCHIVE_DIGESTS)
    jobs = []
    for source in settings.sources:
        reader = source_format(source)
        digests = {role: cache.digest(path) for role, path in reader.files(source).items()}
        options = {key: value for key, value in source.options.items() if key not in reader.paths and not _is_place(key, value)}
        snapshot = snapshot_id(digests)
        jobs.append(
            PartitionJob(
                stage=STAGE,
                name=source.name,
                directory=layout.records_dir(source.name, snapshot),
                version=_VERSION,
                inputs=digests,
                settings=digest_value([source.name, source.format, options, meaningful(settings.ingest), withdrawals.ingest_digest]),
                work=read_source,
                storage=storage,
                arguments={
                    "source": source,
                    "snapshot": snapshot,
                    "digests": digests,
                    "settings": settings.ingest,
                    "withdrawals": withdrawals,
                    "scratch_parent": str(state / "scratch"),
                },
            )
        )
    cache.save()
    return jobs


def _is_place(option: str, value: str) -> bool:
    """True for the folder of local media, which does not affect results, since URLs are relative to it. A base URL does."""
    return option == "images" and "://" not in value


def read_source(
    storage: Storage,
    writer: PartitionWriter,
    *,
    source: SourceSettings,
    snapshot: str,
    digests: dict[str, str],
    settings: IngestSettings,
    withdrawals: Withdrawals,
    scratch_parent: str,
) -> Counts:
    """Read one archive and write its records, part by part, sorted by record id; the first of equal ids is kept."""
    with scratch_folder(Path(scratch_parent)) as scratch:
        intake = _Intake(source, settings, withdrawals)
        spill = Spill(scratch / "partitions", settings.num_partitions, settings.buffer_bytes)
        (scratch / "reader").mkdir()
        for table, partitions in intake.batches(source_format(source).items(source, scratch / "reader", settings.buffer_bytes)):
            spill.add(table, partitions)
        spill.finish()
        num_written = 0
        for index in range(settings.num_partitions):
            table = _in_order(spill.read(index), intake.dropped)
            writer.write_table(layout.records_part(source.name, snapshot, index), table)
            num_written += table.num_rows
        spill.close()
    if not intake.num_read:
        raise ArchiveError(f"source {source.name!r}: {source.path!r} has no rows; check the path, the format and its options.")
    write_snapshot(storage, source, snapshot, digests, intake.places)
    return Counts(intake.num_read, num_written, dict(+intake.dropped), dict(+intake.notes))


class _Intake:
    """Converts a reader's items to RECORD_SCHEMA batches of the accepted records."""

    def __init__(self, source: SourceSettings, settings: IngestSettings, withdrawals: Withdrawals) -> None:
        self._source, self._settings, self._withdrawals = source.name, settings, withdrawals
        self._folder = Path(source.path).parent
        self._lineages = LineageIds()
        self._urls = pa.array(sorted(withdrawals.urls), pa.string())
        self._ids = pa.array(sorted(withdrawals.record_ids), pa.string())
        self.num_read = 0
        self.dropped: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self.places: list[str] = []
        """File, line and rule of damaged rows."""

    def _see(self, places: tuple[str, ...]) -> None:
        """Record the places of damaged rows, by file names relative to the source."""
        self.places += [place.removeprefix(f"{self._folder}/") for place in places]

    def batches(self, items: Iterator[Item]) -> Iterator[tuple[pa.Table, np.ndarray]]:
        """(records, partition of each) of every batch with accepted records."""
        prefetched = Prefetched(items)
        try:
            for table in self._tables(prefetched):
                self.num_read += table.num_rows
                kept = self._identified(keep_wanted(table, self._settings, self.dropped))
                if kept[0].num_rows:
                    yield kept
        finally:
            prefetched.close()

    def _tables(self, items: Iterable[Item]) -> Iterator[pa.Table]:
        """PROVIDED_SCHEMA tables; single records are collected into tables, drops and notes are counted."""
        waiting: list[Record] = []
        for item in items:
            if isinstance(item, Record):
                waiting.append(item)
                if len(waiting) < _ROWS_PER_BATCH:
                    continue
            elif isinstance(item, Dropped):
                self.num_read += item.count
                self.dropped[item.reason] += item.count
                self._see(item.places)
                continue
            elif isinstance(item, Noted):
                self.notes[item.name] += item.count
                self._see(item.places)
                continue
            if waiting:
                yield records_columns(waiting)
                waiting = []
            if isinstance(item, pa.Table):
                yield complete_table(item, self._source, normalize_license)
        if waiting:
            yield records_columns(waiting)

    def _identified(self, table: pa.Table) -> tuple[pa.Table, np.ndarray]:
        digests = record_digests(self._source, table["source_id"], table["media_url"])
        identifiers = digest_ids(digests)
        if len(self._urls) or len(self._ids):
            leaves = pc.or_(pc.is_in(identifiers, value_set=self._ids), pc.is_in(table["media_url"], value_set=self._urls))
            stays = pc.invert(leaves)
            self.dropped[WITHDRAWN] += pc.sum(leaves).as_py() or 0
            is_kept = stays.to_numpy(zero_copy_only=False) if isinstance(stays, pa.Array) else stays.to_numpy()
            table, identifiers, digests = table.filter(stays), identifiers.filter(pa.array(is_kept)), digests[is_kept]
        columns: dict[str, Any] = {"record_id": identifiers, "lineage_id": self._lineages.of(table)}
        columns |= {name: table[name] for name in table.column_names}
        return pa.table(columns, schema=RECORD_SCHEMA), digest_partitions(digests, self._settings.num_partitions)


def _in_order(table: pa.Table | None, dropped: Counter[str]) -> pa.Table:
    """The rows of a partition by record id; of equal ids the first is kept."""
    if table is None:
        return RECORD_SCHEMA.empty_table()
    identifiers = table["record_id"].combine_chunks()
    order = pc.sort_indices(identifiers)
    ordered = identifiers.take(order)
    is_first = np.ones(len(ordered), bool)
    is_first[1:] = pc.not_equal(ordered[1:], ordered[:-1]).to_numpy(zero_copy_only=False)
    dropped["record_repeated"] += int(len(ordered) - is_first.sum())
    return table.take(order.filter(pa.array(is_first))).combine_chunks()
