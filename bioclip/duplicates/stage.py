"""The stage `duplicates`: groups over all images, with the best of each kept."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from bioclip import layout
from bioclip.accounting import Counts
from bioclip.digests import digest_value
from bioclip.duplicates.grouping import KEPT, KINDS, Groups, group_similar
from bioclip.duplicates.image_table import read_image_table
from bioclip.duplicates.pair_index import find_pairs, plan_search, write_index
from bioclip.duplicates.similarity import ImageTable, find_similarity
from bioclip.images.hashing import HASH_VERSION
from bioclip.partitions import PartitionJob, PartitionWriter, read_stage
from bioclip.schemas import DUPLICATE_SCHEMA
from bioclip.settings import DuplicateSettings, PipelineSettings, meaningful
from bioclip.storage import Storage

__all__ = ["STAGE", "group_images", "plan_duplicates"]

STAGE = "duplicates"
_VERSION = 4
_MANIFEST_NAME = layout.partition_manifest(layout.DUPLICATES_DIR, "groups")


def plan_duplicates(storage: Storage, settings: PipelineSettings) -> list[PartitionJob]:
    """One job over all images' hashes, and thumbnails of near pairs; image bytes are not read. Beyond `duplicates.distribute_above`
    images it merges the pairs that the jobs of `plan_search` found."""
    images, records = read_stage(storage, "images"), read_stage(storage, "records")
    grouping = {name: value for name, value in meaningful(settings.duplicates).items() if name != "label_conflicts"}
    return [
        PartitionJob(
            stage=STAGE,
            name="groups",
            directory=layout.DUPLICATES_DIR,
            version=_VERSION,
            inputs={"images": images.digest, "records": records.digest},
            settings=digest_value([grouping, HASH_VERSION]),
            work=group_images,
            storage=storage,
            arguments={"settings": settings.duplicates, "searches": plan_search(storage, settings)},
        )
    ]


def group_images(storage: Storage, writer: PartitionWriter, *, settings: DuplicateSettings, searches: list[PartitionJob]) -> Counts:
    """Group all images of the workspace and write the groups, and the index for the next search."""
    images = read_image_table(storage, read_stage(storage, "images"), read_stage(storage, "records"), settings)
    num_images = len(images.phash)
    pairs = find_pairs(storage, images.phash[~images.is_flat], searches, settings, _MANIFEST_NAME)
    similarity = find_similarity(images, settings.radius, pairs, settings.min_correlation)
    groups = group_similar(images, similarity, settings.grouping)
    writer.write_table(layout.DUPLICATE_GROUPS, _groups_table(images, groups))
    write_index(writer, pairs, settings.radius)
    numbers = np.bincount(groups.kind, minlength=len(KINDS)).tolist()
    dropped = {kind: number for kind, number in zip(KINDS, numbers, strict=True) if kind != KEPT and number}
    notes = {
        **similarity.counts,
        "groups": numbers[KINDS.index(KEPT)],
        "too_flat_for_phash": int((images.is_flat & ~images.is_missing).sum()),
        "without_phash": int(images.is_missing.sum()),
        "groups_with_bounded_diameter": groups.num_bounded_diameters,
        "greatest_diameter_bits": int(groups.diameter.max(initial=0)),
    }
    return Counts(num_images, num_images - sum(dropped.values()), dropped, notes)


def _groups_table(images: ImageTable, groups: Groups) -> pa.Table:
    record_id = pa.array(images.record_id)
    kept = record_id.take(pa.array(groups.kept))
    return pa.table(
        {
            "record_id": record_id.take(pa.array(groups.index)),
            "group_id": kept,
            "kept_record_id": kept,
            "kind": pa.array(KINDS, pa.string()).take(pa.array(groups.kind)),
            "distance": groups.distance,
            "diameter": groups.diameter,
        },
        schema=DUPLICATE_SCHEMA,
    )
