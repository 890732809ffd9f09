"""The stage `records`: every source's archive to partitions of records."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa

from bioclip.accounting import Counts
from bioclip.digests import digest_path, digest_value
from bioclip.errors import SettingsError
from bioclip.licenses import is_allowed
from bioclip.partitions import PartitionJob, PartitionWriter
from bioclip.records import Record, partition_of, records_table
from bioclip.settings import PipelineSettings, SourceSettings, meaningful
from bioclip.sources import Dropped, source_format
from bioclip.storage import Storage

STAGE = "records"
_VERSION = 1


def plan_records(storage: Storage, settings: PipelineSettings) -> list[PartitionJob]:
    """One job a source. Raises ArchiveError for a missing archive, UnknownNameError, SettingsError."""
    if not settings.sources:
        raise SettingsError("sources is empty; name at least one archive with name, format and path.")
    jobs = []
    for source in settings.sources:
        files = source_format(source).files(source)
        digests = {role: digest_path(path) for role, path in files.items()}
        snapshot = digest_value(digests)[:12]
        jobs.append(
            PartitionJob(
                stage=STAGE,
                name=source.name,
                directory=f"records/{source.name}/{snapshot}",
                version=_VERSION,
                inputs=digests,
                settings=digest_value([source.name, source.format, meaningful(settings.ingest)]),
                work=read_source,
                storage=storage,
                arguments={
                    "source": source,
                    "snapshot": snapshot,
                    "num_partitions": settings.ingest.num_partitions,
                    "licenses": settings.ingest.licenses,
                },
            )
        )
    return jobs


def read_source(
    storage: Storage,
    writer: PartitionWriter,
    *,
    source: SourceSettings,
    snapshot: str,
    num_partitions: int,
    licenses: tuple[str, ...],
) -> Counts:
    """Read one archive and write its records, part by part, sorted by record id; the first of equal ids stays."""
    num_read, dropped = 0, Counter[str]()
    partitions: list[dict[str, Record]] = [{} for _ in range(num_partitions)]
    for item in source_format(source).read(source):
        if isinstance(item, Dropped):
            num_read += item.count
            dropped[item.reason] += item.count
            continue
        num_read += 1
        identifier = item.id
        partition = partitions[partition_of(identifier, num_partitions)]
        if not is_allowed(item.license, licenses):
            dropped["license_not_allowed"] += 1
        elif identifier in partition:
            dropped["record_repeated"] += 1
        else:
            partition[identifier] = item
    num_written = 0
    for index, partition in enumerate(partitions):
        table: pa.Table = records_table(partition[identifier] for identifier in sorted(partition))
        writer.write_table(f"records/{source.name}/{snapshot}/part-{index:05d}.parquet", table)
        num_written += table.num_rows
    return Counts(num_read, num_written, dict(dropped))
