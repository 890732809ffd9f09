"""The stage `duplicates`: groups over all images, with the best of each kept."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bioclip.accounting import Counts
from bioclip.digests import digest_value
from bioclip.duplicates.groups import KEPT, ImageFacts, Member, find_groups
from bioclip.hashing import HASH_VERSION
from bioclip.licenses import is_allowed
from bioclip.partitions import PartitionJob, PartitionWriter, StageManifest, read_stage
from bioclip.records import DUPLICATE_SCHEMA
from bioclip.settings import DuplicateSettings, PipelineSettings, meaningful
from bioclip.storage import Storage

STAGE = "duplicates"
GROUPS_NAME = "duplicates/groups.parquet"
_VERSION = 1
_IMAGE_COLUMNS = ["record_id", "original_sha256", "pixel_sha256", "phash", "entropy_bits", "original_width", "original_height"]


def plan_duplicates(storage: Storage, settings: PipelineSettings) -> list[PartitionJob]:
    """One job over all images' hashes; image bytes are not read."""
    images, records = read_stage(storage, "images"), read_stage(storage, "records")
    return [
        PartitionJob(
            stage=STAGE,
            name="groups",
            directory="duplicates",
            version=_VERSION,
            inputs={"images": images.digest, "records": records.digest},
            settings=digest_value([meaningful(settings.duplicates), HASH_VERSION]),
            work=group_images,
            storage=storage,
            arguments={"settings": settings.duplicates},
        )
    ]


def group_images(storage: Storage, writer: PartitionWriter, *, settings: DuplicateSettings) -> Counts:
    """Group all images of the workspace and write who stands for whom."""
    images = read_columns(storage, read_stage(storage, "images"), _IMAGE_COLUMNS)
    records = read_columns(storage, read_stage(storage, "records"), ["record_id", "license", "scientific_name", "specific_epithet"])
    table = images.join(records, "record_id").sort_by("record_id")
    facts = image_facts(table, settings)
    members = find_groups(facts, settings.radius)
    writer.write_table(GROUPS_NAME, _groups_table(facts, members))
    dropped = Counter(member.kind for member in members if member.kind != KEPT)
    num_groups = sum(member.kind == KEPT for member in members)
    notes = {"groups": num_groups, "too_flat_for_phash": int(facts.is_flat.sum())}
    return Counts(table.num_rows, table.num_rows - sum(dropped.values()), dict(dropped), notes)


def read_columns(storage: Storage, stage: StageManifest, columns: list[str]) -> pa.Table:
    """Columns of every output of a stage, as one table in order of the outputs' names."""
    tables = []
    for output in stage.outputs:
        with storage.reader(output.name) as stream:
            tables.append(pq.read_table(stream, columns=columns))
    return pa.concat_tables(tables)


def image_facts(table: pa.Table, settings: DuplicateSettings) -> ImageFacts:
    """What grouping looks at. Precedence: more pixels, a redistributable licence, a label down to species, then record id."""
    record_id = table["record_id"].to_numpy(zero_copy_only=False)
    area = table["original_width"].to_numpy().astype(np.int64) * table["original_height"].to_numpy()
    is_open = np.array([is_allowed(text, ("open",)) for text in table["license"].to_pylist()])
    names = zip(table["scientific_name"].to_pylist(), table["specific_epithet"].to_pylist(), strict=True)
    detail = np.array([2 * bool(epithet) + (" " in (name or "")) for name, epithet in names], np.int64)
    order = np.lexsort((record_id, -detail, ~is_open, -area))
    precedence = np.empty(len(order), np.int64)
    precedence[order] = np.arange(len(order))
    phash = table["phash"].to_numpy().astype(np.uint64)
    is_flat = (table["entropy_bits"].to_numpy() < settings.min_entropy_bits) | (np.bitwise_count(phash) <= 1)
    return ImageFacts(
        record_id=record_id,
        sha256=table["original_sha256"].to_numpy(zero_copy_only=False),
        pixel_sha256=table["pixel_sha256"].to_numpy(zero_copy_only=False),
        phash=phash,
        is_flat=is_flat,
        precedence=precedence,
    )


def _groups_table(facts: ImageFacts, members: list[Member]) -> pa.Table:
    rows = [
        {
            "record_id": facts.record_id[member.index],
            "group_id": facts.record_id[member.kept],
            "kept_record_id": facts.record_id[member.kept],
            "kind": member.kind,
            "distance": member.distance,
        }
        for member in members
    ]
    return pa.Table.from_pylist(rows, schema=DUPLICATE_SCHEMA)
