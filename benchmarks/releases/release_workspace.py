"""A workspace of many images for the release stages, written by the product's own writers instead of the earlier stages.

The bundled photographs are enlarged, cropped and mirrored to 256 x 192 px; each of these pictures is used for some fifty images, which
differ by a comment in the JPEG. The hashes are random instead of computed from pixels: true hashes would make all of them duplicates of
each other. If the pHash must be the picture's (`true_phash`), the gate must not use it.
"""

from __future__ import annotations

import io
import random
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image, ImageOps

from benchmarks.photographs import large_photographs
from bioclip import layout
from bioclip.accounting import Counts
from bioclip.digests import digest_bytes, digest_value
from bioclip.images.hashing import HASH_DECODE_PX, decode_upright, phash
from bioclip.partitions import PartitionJob, PartitionManifest, PartitionWriter, run_partition, write_stage
from bioclip.publishing.stage import plan_publish
from bioclip.records import RANKS, Record, partition_of
from bioclip.releases.aliases import point_latest
from bioclip.releases.locating import open_release
from bioclip.releases.manifest import Release
from bioclip.schemas import DUPLICATE_SCHEMA, IMAGE_SCHEMA, LINEAGE_SCHEMA
from bioclip.selection.stage import plan_release
from bioclip.settings import PipelineSettings
from bioclip.settings.loading import build_settings
from bioclip.shards.stage import plan_shards, release_version
from bioclip.sources.parsing.columns import records_table
from bioclip.storage import Storage, open_workspace

WIDTH, HEIGHT = 256, 192
_PER_PHOTOGRAPH, _IMAGES_PER_SPECIES = 10, 80


def make_settings(
    workspace: Path | str, num_partitions: int, samples_per_shard: int, parent: str = "auto", true_phash: bool = False
) -> PipelineSettings:
    """Settings of the release stages alone; `true_phash` as in `write_workspace`."""
    return build_settings(
        {
            "workspace": {"uri": str(workspace)},
            "ingest": {"num_partitions": num_partitions},
            "release": {"parent": parent},
            "shards": {"samples_per_shard": samples_per_shard},
            "leakage": {"guards": {"near": not true_phash}},
        }
    )


def make_pictures(count: int) -> list[bytes]:
    """`count` JPEGs of 256 x 192 px: crops and mirror images of the bundled photographs, deterministic bytes."""
    pictures = []
    for photograph in large_photographs(-(-count // _PER_PHOTOGRAPH), scale=0.5):
        with Image.open(io.BytesIO(photograph)) as opened:
            image = opened.convert("RGB")
        for number in range(_PER_PHOTOGRAPH):
            left, top = number * 7, number * 5
            picture = image.crop((left, top, left + WIDTH, top + HEIGHT))
            sink = io.BytesIO()
            (ImageOps.mirror(picture) if number % 2 else picture).save(sink, "JPEG", quality=85)
            pictures.append(sink.getvalue())
    return pictures[:count]


def make_records(numbers: Collection[int]) -> list[tuple[Record, int]]:
    """Record and number of each image, in order of record id; species of eighty images each."""
    species = {number: f"Species{number // _IMAGES_PER_SPECIES:05d}" for number in numbers}
    made = [
        (
            Record(
                "benchmark",
                f"{number}",
                f"http://media.example/{number}.jpg",
                occurrence_id=f"occurrence {number}",
                license="CC-BY-4.0",
                rights_holder=f"holder {number % 997}",
                scientific_name=f"Genus {species[number].lower()}",
            ),
            number,
        )
        for number in numbers
    ]
    return sorted(made, key=lambda pair: pair[0].id)


def write_workspace(
    storage: Storage, numbers: Collection[int], num_partitions: int, num_pictures: int, true_phash: bool = False
) -> list[str]:
    """Write the stages before `release` for images of these numbers; returns their record ids in order."""
    records = make_records(numbers)
    parts: list[list[tuple[Record, int]]] = [[] for _ in range(num_partitions)]
    for record, number in records:
        parts[partition_of(record.id, num_partitions)].append((record, number))
    pictures = make_pictures(num_pictures)
    phashes = [phash(decode_upright(picture, HASH_DECODE_PX)) for picture in pictures] if true_phash else []
    ends: dict[str, list[PartitionManifest]] = {"records": [], "images": []}
    for index, part in enumerate(parts):
        table = records_table(record for record, _ in part)
        ends["records"].append(_do(storage, "records", index, f"records/benchmark/part-{index:05d}.parquet", table))
        ends["images"].append(_do(storage, "images", index, layout.images_part(index), _images(part, pictures, phashes)))
    lineages = {record.lineage_id: record for record, _ in records}
    names = pa.Table.from_pylist([_lineage(key, record) for key, record in sorted(lineages.items())], schema=LINEAGE_SCHEMA)
    ends["taxonomy"] = [_do(storage, "taxonomy", 0, layout.NAMES, names)]
    ends["duplicates"] = [_do(storage, "duplicates", 0, layout.DUPLICATE_GROUPS, DUPLICATE_SCHEMA.empty_table())]
    for stage, manifests in (ends | {"backbones": []}).items():
        write_stage(storage, stage, manifests)
    return [record.id for record, _ in records]


def _do(storage: Storage, stage: str, index: int, name: str, table: pa.Table) -> PartitionManifest:
    inputs = {"rows": digest_value([table.num_rows, table["record_id"].to_pylist() if "record_id" in table.column_names else []])}
    return run_partition(
        PartitionJob(stage, f"part-{index:05d}", stage, 1, inputs, "", _write, storage, {"name": name, "table": table})
    ).manifest


def _write(storage: Storage, writer: PartitionWriter, *, name: str, table: pa.Table) -> Counts:
    writer.write_table(name, table, row_group_rows=256)
    return Counts(table.num_rows, table.num_rows)


def _images(part: Sequence[tuple[Record, int]], pictures: Sequence[bytes], phashes: Sequence[int]) -> pa.Table:
    def rows() -> Iterator[dict[str, Any]]:
        for record, number in part:
            text = f"image {number}".encode()
            picture = pictures[number % len(pictures)]
            image = picture[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + picture[2:]
            sha256 = digest_bytes(image)
            yield {
                "record_id": record.id,
                "sha256": sha256,
                "pixel_sha256": digest_bytes(b"pixels of " + text),
                "phash": phashes[number % len(phashes)] if phashes else random.Random(number).getrandbits(64),
                "entropy_bits": 7.0,
                "width": WIDTH,
                "height": HEIGHT,
                "num_bytes": len(image),
                "format": "JPEG",
                "original_width": WIDTH,
                "original_height": HEIGHT,
                "original_format": "JPEG",
                "original_sha256": sha256,
                "original_num_bytes": len(image),
                "exif_orientation": 1,
                "final_url": record.media_url,
                "image": image,
            }

    return pa.Table.from_pylist(list(rows()), schema=IMAGE_SCHEMA)


def _lineage(lineage_id: str, record: Record) -> dict[str, Any]:
    ranks = dict(zip(RANKS, ("Animalia", "Chordata", "Aves", "Ordo", "Familia", "Genus", record.scientific_name), strict=True))
    values = {field.name: "" if field.type == pa.string() else 100 if pa.types.is_integer(field.type) else None for field in LINEAGE_SCHEMA}
    return (
        values
        | ranks
        | {
            "lineage_id": lineage_id,
            "canonical_name": record.scientific_name,
            "match_type": "EXACT",
            "accepted_id": record.scientific_name,
            "accepted_name": record.scientific_name,
            "resolved_rank": "species",
            "backbone": "benchmark",
        }
    )


def release(settings: PipelineSettings, num_processes: int = 1) -> Release:
    """Run the stages `release`, `shards` and `publish`, and point `latest` at the release."""
    storage = open_workspace(settings.workspace)
    for stage, plan in (("release", plan_release), ("shards", plan_shards), ("publish", plan_publish)):
        jobs = plan(storage, settings)
        manifests = _run_all(jobs, num_processes if len(jobs) > 1 else 1)
        write_stage(storage, stage, manifests)
    version = release_version(storage, settings)
    point_latest(storage, version)
    return open_release(storage, version)


def _run_all(jobs: Sequence[PartitionJob], num_processes: int) -> list[PartitionManifest]:
    if num_processes == 1:
        return [run_partition(job).manifest for job in jobs]
    with ProcessPoolExecutor(num_processes, mp_context=get_context("spawn")) as pool:
        return [result.manifest for result in pool.map(partial(run_partition), jobs)]
