"""The stage `images`: one partition of records to checked, hashed images and a ledger of outcomes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bioclip.accounting import Counts
from bioclip.digests import digest_value
from bioclip.download.fetch import PERMANENT, RETRY_LATER, SUCCESS, Fetched, Fetcher
from bioclip.download.images import CheckedImage, RefusedImage, check_image
from bioclip.hashing import HASH_DECODE_PX, HASH_VERSION
from bioclip.partitions import PartitionJob, PartitionWriter, StageManifest, read_stage
from bioclip.records import IMAGE_SCHEMA, OUTCOME_SCHEMA
from bioclip.settings import DownloadSettings, PipelineSettings, meaningful
from bioclip.storage import Storage

STAGE = "images"
_VERSION = 1
_DECODING_THREADS = 2
_SETTINGS_KEY = b"treeoflife.image_settings"


def plan_images(storage: Storage, settings: PipelineSettings, num_workers: int) -> list[PartitionJob]:
    """One job a partition of the records; `num_workers` share each host's allowance."""
    records = read_stage(storage, "records")
    return [
        PartitionJob(
            stage=STAGE,
            name=f"part-{index:05d}",
            directory="images",
            version=_VERSION,
            inputs={output.name: output.sha256 for output in outputs},
            settings=image_settings_digest(settings.download),
            work=download_partition,
            storage=storage,
            arguments={
                "index": index,
                "records": [output.name for output in outputs],
                "settings": settings.download,
                "num_workers": num_workers,
            },
            force=settings.download.retry_failed and _has_unfinished(storage, index),
        )
        for index, outputs in sorted(_by_partition(records).items())
    ]


def image_settings_digest(settings: DownloadSettings) -> str:
    """Digest of all that decides how a body becomes an image."""
    return digest_value([meaningful(settings), HASH_VERSION, HASH_DECODE_PX])


def images_name(index: int) -> str:
    """Where the images of a partition lie."""
    return f"images/part-{index:05d}.parquet"


def outcomes_name(index: int) -> str:
    """Where the outcomes of a partition lie."""
    return f"outcomes/part-{index:05d}.parquet"


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
    num_workers: int,
) -> Counts:
    """Fetch and check what no earlier run has, and write images and outcomes sorted by record id."""
    wanted = read_records(storage, records, ["record_id", "media_url"]).to_pylist()
    earlier = _Earlier.read(storage, index, settings)
    done = {row["record_id"]: row for row in wanted if earlier.has(row)}
    missing = [row for row in wanted if row["record_id"] not in done]
    fresh, num_requests = asyncio.run(_fetch_all(missing, settings, num_workers)) if missing else ({}, 0)
    outcomes, images = [], []
    for row in wanted:
        image, outcome = fresh[row["record_id"]] if row["record_id"] in fresh else earlier.take(row["record_id"])
        outcomes.append(outcome)
        images.extend([image] if image else [])
    schema = IMAGE_SCHEMA.with_metadata({_SETTINGS_KEY: image_settings_digest(settings).encode()})
    writer.write_table(images_name(index), pa.Table.from_pylist(images, schema=schema), row_group_rows=256)
    writer.write_ledger(outcomes_name(index), pa.Table.from_pylist(outcomes, schema=OUTCOME_SCHEMA))
    writer.effort.update(requests=num_requests, fetched=len(missing), carried_over=len(done))
    dropped = Counter(outcome["reason"] for outcome in outcomes if outcome["status"] != SUCCESS)
    return Counts(len(wanted), len(images), dict(dropped))


async def _fetch_all(
    rows: list[dict[str, str]], settings: DownloadSettings, num_workers: int
) -> tuple[dict[str, tuple[dict[str, Any] | None, dict[str, Any]]], int]:
    loop = asyncio.get_running_loop()
    decoding = asyncio.Semaphore(2 * _DECODING_THREADS)
    with ThreadPoolExecutor(_DECODING_THREADS) as pool:
        async with Fetcher(settings, num_workers) as fetcher:

            async def fetch_one(row: dict[str, str]) -> tuple[dict[str, Any] | None, dict[str, Any]]:
                fetched = await fetcher.fetch(row["media_url"])
                checked: CheckedImage | RefusedImage | None = None
                if fetched.status == SUCCESS:
                    async with decoding:
                        checked = await loop.run_in_executor(pool, check_image, fetched.body, settings)
                image = _image_row(row["record_id"], checked, fetched) if isinstance(checked, CheckedImage) else None
                return image, _outcome_row(row, fetched, checked)

            results = await asyncio.gather(*(fetch_one(row) for row in rows))
            return {row["record_id"]: result for row, result in zip(rows, results, strict=True)}, fetcher.num_requests


def _image_row(record_id: str, image: CheckedImage, fetched: Fetched) -> dict[str, Any]:
    return {
        "record_id": record_id,
        "sha256": image.sha256,
        "pixel_sha256": image.hashes.pixel_sha256,
        "phash": image.hashes.phash,
        "entropy_bits": image.hashes.entropy_bits,
        "width": image.width,
        "height": image.height,
        "format": image.format,
        "original_width": image.original_width,
        "original_height": image.original_height,
        "original_format": image.original_format,
        "original_sha256": image.original_sha256,
        "original_num_bytes": image.original_num_bytes,
        "exif_orientation": image.exif_orientation,
        "final_url": fetched.final_url,
        "image": image.data,
    }


def _outcome_row(row: dict[str, str], fetched: Fetched, checked: CheckedImage | RefusedImage | None) -> dict[str, Any]:
    refused = checked if isinstance(checked, RefusedImage) else None
    return {
        "record_id": row["record_id"],
        "media_url": row["media_url"],
        "status": PERMANENT if refused else fetched.status,
        "reason": refused.reason if refused else fetched.reason,
        "http_status": fetched.http_status,
        "attempts": fetched.attempts,
        "detail": refused.detail if refused else fetched.detail,
        "etag": fetched.etag,
        "last_modified": fetched.last_modified,
        "fetched_at": fetched.fetched_at,
        "elapsed_ms": fetched.elapsed_ms,
    }


@dataclass(frozen=True)
class _Earlier:
    """What an earlier run of the same partition, under the same image settings, has to give."""

    images: dict[str, dict[str, Any]]
    outcomes: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, storage: Storage, index: int, settings: DownloadSettings) -> _Earlier:
        if not (storage.exists(images_name(index)) and storage.exists(outcomes_name(index))):
            return cls({}, {})
        with storage.reader(images_name(index)) as stream:
            images = pq.read_table(stream)
        if (images.schema.metadata or {}).get(_SETTINGS_KEY) != image_settings_digest(settings).encode():
            return cls({}, {})
        with storage.reader(outcomes_name(index)) as stream:
            outcomes = pq.read_table(stream)
        return cls(_by_record(images), _by_record(outcomes))

    def has(self, row: dict[str, str]) -> bool:
        """True when this record's URL was asked for before and its outcome is final."""
        outcome = self.outcomes.get(row["record_id"])
        if outcome is None or outcome["media_url"] != row["media_url"] or outcome["status"] == RETRY_LATER:
            return False
        return outcome["status"] != SUCCESS or row["record_id"] in self.images

    def take(self, record_id: str) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        return self.images.get(record_id), self.outcomes[record_id]


def _by_record(table: pa.Table) -> dict[str, dict[str, Any]]:
    return {row["record_id"]: row for row in table.to_pylist()}


def _by_partition(records: StageManifest) -> dict[int, list[Any]]:
    partitions: dict[int, list[Any]] = {}
    for output in records.outputs:
        partitions.setdefault(int(output.name.rsplit("part-", 1)[1].split(".")[0]), []).append(output)
    return partitions


def _has_unfinished(storage: Storage, index: int) -> bool:
    return any(row["status"] == RETRY_LATER for row in read_outcomes(storage, index))


def read_outcomes(storage: Storage, index: int) -> Iterator[dict[str, Any]]:
    """The ledger of a partition, row by row; nothing when there is none."""
    if storage.exists(outcomes_name(index)):
        with storage.reader(outcomes_name(index)) as stream:
            yield from pq.read_table(stream).to_pylist()
