"""The stages `shards` and `publish`: a release's tars, and the manifest that makes it one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bioclip import layout
from bioclip.digests import digest_value
from bioclip.partitions import PartitionJob, read_stage
from bioclip.releases.manifest import KEPT_SHARDS
from bioclip.selection.parent import SHARD_FORM, read_parent
from bioclip.settings import PipelineSettings, meaningful
from bioclip.shards.plan import Assignment, read_assignment
from bioclip.shards.taxon_texts import TaxonTexts, read_taxon_texts
from bioclip.shards.writing import keep_shards, write_partition
from bioclip.storage import Storage

SHARDS_STAGE = "shards"
_VERSION = SHARD_FORM


def release_version(storage: Storage, settings: PipelineSettings) -> str:
    """Version of the release that the workspace's tables give: 12 hexadecimal digits of a digest over samples and shard settings."""
    samples = read_stage(storage, "release").digest
    return version_of(settings.release.name, samples, meaningful(settings.shards))


def version_of(name: str, samples_digest: str, shard_settings: Any) -> str:
    """Version of the release of that name, digest of the stage `release` and (meaningful) settings of the shards."""
    return digest_value([name, samples_digest, shard_settings, _VERSION])[:12]


def plan_shards(storage: Storage, settings: PipelineSettings) -> list[PartitionJob]:
    """A job for each partition of images, or run of them, that gives samples to shards; one more names the shards that are kept."""
    version = release_version(storage, settings)
    directory, texts = layout.release_partitions_dir(version), _texts(storage)
    images = {output.name: output.sha256 for output in read_stage(storage, "images").outputs}
    found = read_assignment(storage, layout.in_splits(layout.SAMPLES), settings.ingest.num_partitions, texts)
    jobs = [
        PartitionJob(
            stage=SHARDS_STAGE,
            name=layout.part_range_name(first, last),
            directory=directory,
            version=_VERSION,
            inputs={"samples": share.digest} | _image_inputs(images, first, last) | ({"texts": share.texts_digest} if texts else {}),
            settings=digest_value(meaningful(settings.shards)),
            work=write_partition,
            storage=storage,
            arguments={
                "partitions": (first, last),
                "num_partitions": settings.ingest.num_partitions,
                "version": version,
                "names": list(share.names),
                "settings": settings.shards,
                "has_texts": texts is not None,
            },
        )
        for share in found.shares
        for first, last in [share.partitions]
    ]
    return jobs + _plan_kept(storage, directory, version, found)


def _image_inputs(images: Mapping[str, str], first: int, last: int) -> dict[str, str]:
    if first == last:
        return {"images": images[layout.images_part(first)]}
    return {f"images-{index:05d}": images[layout.images_part(index)] for index in range(first, last + 1)}


def _plan_kept(storage: Storage, directory: str, version: str, found: Assignment) -> list[PartitionJob]:
    if not found.kept:
        return []
    return [
        PartitionJob(
            stage=SHARDS_STAGE,
            name=KEPT_SHARDS,
            directory=directory,
            version=_VERSION,
            inputs={"samples": found.kept_digest, "parent": read_parent(storage).digest},
            settings="",
            work=keep_shards,
            storage=storage,
            arguments={"version": version, "num_samples": dict(found.kept)},
        )
    ]


def _texts(storage: Storage) -> TaxonTexts | None:
    """What further texts there are; None where no setting asks for any, or no taxon has one."""
    return (
        (read_taxon_texts(storage, layout.in_splits(layout.TEXTS)) or None)
        if layout.in_splits(layout.TEXTS) in rule_tables(storage)
        else None
    )


def rule_tables(storage: Storage) -> list[str]:
    """Tables that the stage `release` writes only where a setting asks for them."""
    return [
        o.name
        for o in read_stage(storage, "release").outputs
        if o.name in {layout.in_splits(layout.HELDOUT_LIST), layout.in_splits(layout.TEXTS), layout.in_splits(layout.TRAIN_SMALL)}
    ]
