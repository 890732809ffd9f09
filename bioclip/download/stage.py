"""The stage `images`: from a partition of records to checked, hashed images and a ledger of outcomes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.accounting import Counts
from bioclip.digests import digest_value
from bioclip.download.allowance_service import AllowanceAddress
from bioclip.download.chunks import SETTINGS_KEY, ChunkLog, image_options, merged_groups, read_groups
from bioclip.download.circumstances import has_outdated, ledger_metadata
from bioclip.download.outcomes import LEDGER_SCHEMA, SUCCESS
from bioclip.download.progress import Progress
from bioclip.download.queues import download
from bioclip.images.hashing import HASH_DECODE_PX, HASH_VERSION
from bioclip.local_media import is_local
from bioclip.partitions import OutputFile, PartitionJob, PartitionWriter, StageManifest, read_stage
from bioclip.schemas import IMAGE_SCHEMA
from bioclip.settings import DownloadSettings, PipelineSettings, meaningful
from bioclip.storage import Storage
from bioclip.withdrawals.stored_images import withdrawal_is_pending

STAGE = "images"
_VERSION = 4
_LEDGER_READERS = 16
_CROP_COLUMNS = ("crop_x", "crop_y", "crop_width", "crop_height", "crop_image_width", "crop_image_height")


def plan_images(
    storage: Storage,
    settings: PipelineSettings,
    allowance: AllowanceAddress | None = None,
    media_roots: Mapping[str, str] | None = None,
    withdrawn: frozenset[str] = frozenset(),
) -> list[PartitionJob]:
    """One job per partition of the records; all take leases from `allowance`, or each from its own process without one.

    `media_roots` maps sources that may have `local:` URLs to the base of those. A partition with the same records in another snapshot is
    done, unless a setting or a local file that decided an outcome has changed, or it holds an image whose SHA-256 (original, stored or of
    its pixels) is in `withdrawn`, or lacks one for a hash that is no longer listed: the bytes of withdrawn images are removed.
    """
    partitions = sorted(_by_partition(read_stage(storage, "records")).items())
    outdated = _outdated(storage, settings.download, partitions, media_roots or {})
    return [
        PartitionJob(
            stage=STAGE,
            name=layout.part_name(index),
            directory=layout.IMAGES_DIR,
            version=_VERSION,
            inputs={layout.without_snapshot(output.name): output.sha256 for output in outputs},
            settings=image_settings_digest(settings.download),
            work=download_partition,
            storage=storage,
            arguments={
                "index": index,
                "records": [output.name for output in outputs],
                "settings": settings.download,
                "allowance": allowance,
                "media_roots": dict(media_roots or {}),
                "withdrawn": withdrawn,
            },
            force=settings.download.refetch
            or has_to_ask
            or withdrawal_is_pending(storage, layout.images_part(index), layout.outcomes_part(index), withdrawn),
        )
        for (index, outputs), has_to_ask in zip(partitions, outdated, strict=True)
    ]


def _outdated(
    storage: Storage, settings: DownloadSettings, partitions: list[tuple[int, list[OutputFile]]], media_roots: Mapping[str, str]
) -> list[bool]:
    """For each partition, whether its ledger has an outcome to request again."""

    def is_outdated(partition: tuple[int, list[OutputFile]]) -> bool:
        index, outputs = partition
        return has_outdated(storage, layout.outcomes_part(index), [output.name for output in outputs], settings, media_roots)

    with ThreadPoolExecutor(_LEDGER_READERS) as pool:
        return list(pool.map(is_outdated, partitions))


def image_settings_digest(settings: DownloadSettings) -> str:
    """Digest of all settings that decide how a body becomes an image."""
    return digest_value([meaningful(settings), HASH_VERSION, HASH_DECODE_PX])


def read_records(storage: Storage, names: Iterable[str], columns: list[str]) -> pa.Table:
    """The named record files as one table, sorted by record id."""
    tables = []
    for name in names:
        with storage.reader(name) as stream:
            tables.append(pq.read_table(stream, columns=columns))
    return pa.concat_tables(tables).sort_by("record_id")


def download_partition(
    storage: Storage,
    writer: PartitionWriter,
    *,
    index: int,
    records: list[str],
    settings: DownloadSettings,
    allowance: AllowanceAddress | None = None,
    media_roots: Mapping[str, str] | None = None,
    withdrawn: frozenset[str] = frozenset(),
) -> Counts:
    """Fetch and check images that no earlier run has, and write images and outcomes sorted by record id.

    After being killed at any point it resumes from the last chunk; readers see the complete partition or the earlier one.
    """
    wanted = read_records(storage, records, ["record_id", "source", "media_url", *_CROP_COLUMNS]).to_pylist()
    for row in wanted:
        row["media_root"] = (media_roots or {}).get(row["source"], "") if is_local(row["media_url"]) else ""
        row["crop"] = _crop_text(row)
    digest = image_settings_digest(settings)
    log = ChunkLog(storage, layout.unfinished_images_dir(index), digest, settings.chunk_records)
    progress = Progress(storage, layout.images_part(index), layout.outcomes_part(index), digest, settings)
    progress.read(log)
    progress.restore(withdrawn)
    asks = progress.missing(wanted)
    effort = asyncio.run(download(asks, settings, allowance, log, progress)) if asks else Counter[str]()
    progress.complete(log)
    progress.withdraw(withdrawn)
    outcomes = [progress.outcomes[row["record_id"]] for row in wanted]
    _write_images(storage, writer, index, progress, outcomes, digest)
    ledger_schema = LEDGER_SCHEMA.with_metadata(ledger_metadata(settings, (media_roots or {}).values()))
    writer.write_ledger(layout.outcomes_part(index), pa.Table.from_pylist(outcomes, schema=ledger_schema))
    log.remove()
    num_asked = sum(len(ask.rows) for ask in asks)
    writer.effort.update(effort, attempts=0, requests=0, fetched=num_asked, carried_over=len(wanted) - num_asked)
    dropped = Counter(outcome["reason"] for outcome in outcomes if outcome["status"] != SUCCESS)
    return Counts(len(wanted), len(wanted) - dropped.total(), dict(dropped))


def _write_images(
    storage: Storage, writer: PartitionWriter, index: int, progress: Progress, outcomes: list[dict[str, Any]], digest: str
) -> None:
    owners = {row["record_id"]: progress.images[row["record_id"]] for row in outcomes if row["status"] == SUCCESS}
    schema = IMAGE_SCHEMA.with_metadata({SETTINGS_KEY: digest.encode()})
    with ExitStack() as stack, writer.open(layout.images_part(index), num_rows=len(owners)) as stream:

        def open_file(name: str) -> Iterator[pa.Table]:
            return iter([progress.rest]) if not name else read_groups(storage, name, stack)

        with pq.ParquetWriter(stream, schema, **image_options(schema.names)) as sink:
            for table in merged_groups(owners, open_file):
                sink.write_table(table.replace_schema_metadata(schema.metadata))


def _crop_text(row: dict[str, Any]) -> str:
    values = [row[name] for name in _CROP_COLUMNS]
    values = values if all(values[4:]) else values[:4]
    return "" if all(value is None for value in values) else ",".join("" if value is None else str(value) for value in values)


def _by_partition(records: StageManifest) -> dict[int, list[OutputFile]]:
    partitions: dict[int, list[OutputFile]] = {}
    for output in records.outputs:
        if (index := layout.part_number(output.name)) is not None:
            partitions.setdefault(index, []).append(output)
    return partitions


def read_outcomes(storage: Storage, index: int) -> Iterator[dict[str, Any]]:
    """The ledger of a partition, row by row; empty if there is none."""
    if storage.exists(layout.outcomes_part(index)):
        with storage.reader(layout.outcomes_part(index)) as stream:
            yield from pq.read_table(stream).to_pylist()
