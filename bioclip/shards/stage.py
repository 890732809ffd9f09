"""The stage `shards`: a release's tars and their indexes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bioclip import layout
from bioclip.digests import digest_value
from bioclip.partitions import PartitionJob, read_stage
from bioclip.releases.manifest import KEPT_SHARDS
from bioclip.selection.parent import SHARD_FORM, read_parent
from bioclip.settings import PipelineSettings, meaningful
from bioclip.shards.plan import ShardPlan, read_shard_plan
from bioclip.shards.taxon_texts import TaxonTexts, read_taxon_texts
from bioclip.shards.writing import keep_shards, write_partition
from bioclip.storage import Storage

SHARDS_STAGE = "shards"
_VERSION = SHARD_FORM


def release_version(storage: Storage, settings: PipelineSettings) -> str:
    """Version of the release that the workspace's tables make: 12 hexadecimal digits of a digest of samples and shard settings."""
    samples = read_stage(storage, "release").digest
    return version_of(settings.release.name, samples, meaningful(settings.shards))


def version_of(name: str, samples_digest: str, shard_settings: Any) -> str:
    """Version of a release with this name, digest of the stage `release` and (meaningful) shard settings."""
    return digest_value([name, samples_digest, shard_settings, _VERSION])[:12]


def plan_shards(storage: Storage, settings: PipelineSettings) -> list[PartitionJob]:
    """A job for each group of shards, named after its partitions of images; one more records the shards kept from earlier releases."""
    version = release_version(storage, settings)
    directory, texts = layout.release_partitions_dir(version), _texts(storage)
    images = {output.name: output.sha256 for output in read_stage(storage, "images").outputs}
    plan = read_shard_plan(storage, layout.in_splits(layout.SAMPLES), settings.ingest.num_partitions, texts)
    jobs = [
        PartitionJob(
            stage=SHARDS_STAGE,
            name=layout.part_range_name(first, last),
            directory=directory,
            version=_VERSION,
            inputs={"samples": group.digest} | _image_inputs(images, first, last) | ({"texts": group.texts_digest} if texts else {}),
            settings=digest_value(meaningful(settings.shards)),
            work=write_partition,
            storage=storage,
            arguments={
                "partitions": (first, last),
                "num_partitions": settings.ingest.num_partitions,
                "version": version,
                "names": list(group.names),
                "settings": settings.shards,
                "has_texts": texts is not None,
            },
        )
        for group in plan.groups
        for first, last in [group.partitions]
    ]
    return jobs + _plan_kept(storage, directory, version, plan)


def _image_inputs(images: Mapping[str, str], first: int, last: int) -> dict[str, str]:
    if first == last:
        return {"images": images[layout.images_part(first)]}
    return {f"images-{index:05d}": images[layout.images_part(index)] for index in range(first, last + 1)}


def _plan_kept(storage: Storage, directory: str, version: str, plan: ShardPlan) -> list[PartitionJob]:
    if not plan.kept:
        return []
    return [
        PartitionJob(
            stage=SHARDS_STAGE,
            name=KEPT_SHARDS,
            directory=directory,
            version=_VERSION,
            inputs={"samples": plan.kept_digest, "parent": read_parent(storage).digest},
            settings="",
            work=keep_shards,
            storage=storage,
            arguments={"version": version, "num_samples": dict(plan.kept)},
        )
    ]


def _texts(storage: Storage) -> TaxonTexts | None:
    """The additional texts; None where no setting asks for them, or no taxon has one."""
    name = layout.in_splits(layout.TEXTS)
    return (read_taxon_texts(storage, name) or None) if name in rule_tables(storage) else None


def rule_tables(storage: Storage) -> list[str]:
    """Tables that the stage `release` wrote because a setting asks for them."""
    optional = {layout.in_splits(file) for file in (layout.HELDOUT_LIST, layout.TEXTS, layout.TRAIN_SMALL)}
    return [output.name for output in read_stage(storage, "release").outputs if output.name in optional]
