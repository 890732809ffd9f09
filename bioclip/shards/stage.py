"""The stages `shards` and `publish`: a release's tars, and the manifest that makes it one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from bioclip import __version__
from bioclip.accounting import Counts
from bioclip.digests import digest_bytes, digest_value, readable_json
from bioclip.download.stage import images_name
from bioclip.partitions import OutputFile, PartitionJob, PartitionWriter, StageManifest, read_stage
from bioclip.release.balance import TAIL_NAME
from bioclip.release.evaluated import EVALUATED_NAME
from bioclip.release.gate import FINGERPRINTS_NAME, LEAKS_NAME, gate_inputs
from bioclip.release.heldout import HELDOUT_LIST_NAME
from bioclip.release.increments import KEPT_SHARDS, SHARD_FORM, next_shards, open_parent, read_parent
from bioclip.release.reading import RELEASES_DIR, SEAL_NAME, SPLITS, release_name
from bioclip.release.stage import SAMPLES_NAME, rule_inputs
from bioclip.release.texts import TEXTS_NAME
from bioclip.release.train_small import TRAIN_SMALL_NAME
from bioclip.settings import PipelineSettings, meaningful
from bioclip.shards.assignment import Assignment, read_assignment
from bioclip.shards.index import shard_lists
from bioclip.shards.metadata import write_metadata
from bioclip.shards.metadata.tally import ReleaseTally, tally_samples
from bioclip.shards.taxon_texts import TaxonTexts, read_taxon_texts
from bioclip.shards.writing import keep_shards, write_partition
from bioclip.storage import Storage

SHARDS_STAGE, PUBLISH_STAGE = "shards", "publish"
MANIFEST_SCHEMA_VERSION = 2
_VERSION = SHARD_FORM
_PUBLISH_VERSION = 7
_COPY_BYTES = 1 << 20
DATA_STAGES = ("records", "images", "backbones", "taxonomy", "duplicates", "release", "shards")
"""Stages whose digests and counts a manifest states, in the order in which its card lists them."""
_DATA_SECTIONS = ("ingest", "download", "duplicates", "taxonomy", "release", "leakage", "shards", "card")


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
    directory, texts = f"{RELEASES_DIR}/{version}/partitions", _texts(storage)
    images = {output.name: output.sha256 for output in read_stage(storage, "images").outputs}
    found = read_assignment(storage, SAMPLES_NAME, settings.ingest.num_partitions, texts)
    jobs = [
        PartitionJob(
            stage=SHARDS_STAGE,
            name=f"part-{first:05d}" if first == last else f"parts-{first:05d}-{last:05d}",
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
        return {"images": images[images_name(first)]}
    return {f"images-{index:05d}": images[images_name(index)] for index in range(first, last + 1)}


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
    return (read_taxon_texts(storage, TEXTS_NAME) or None) if TEXTS_NAME in _rule_tables(storage) else None


def plan_publish(storage: Storage, settings: PipelineSettings) -> list[PartitionJob]:
    """One job that completes the release; its manifest names every file's digest."""
    version = release_version(storage, settings)
    digests = {stage: read_stage(storage, stage).digest for stage in DATA_STAGES}
    return [
        PartitionJob(
            stage=PUBLISH_STAGE,
            name="publish",
            directory=f"{RELEASES_DIR}/{version}/partitions",
            version=_PUBLISH_VERSION,
            inputs=digests | rule_inputs(storage, settings),
            settings=digest_value({section: meaningful(getattr(settings, section)) for section in _DATA_SECTIONS}),
            work=publish,
            storage=storage,
            arguments={"version": version, "settings": settings},
        )
    ]


def publish(storage: Storage, writer: PartitionWriter, *, version: str, settings: PipelineSettings) -> Counts:
    """Write samples.parquet, what the gate knows and found, all metadata, the seal and, last, manifest.json."""
    folder = f"{RELEASES_DIR}/{version}"
    for name in (SAMPLES_NAME, FINGERPRINTS_NAME, LEAKS_NAME, EVALUATED_NAME, *_rule_tables(storage)):
        with storage.reader(name) as source, writer.open(f"{folder}/{name.rsplit('/', 1)[-1]}") as sink:
            shutil.copyfileobj(source, sink, _COPY_BYTES)
    tally = tally_samples(storage, SAMPLES_NAME)
    shards = [replace(output, name=release_name(version, output.name)) for output in read_stage(storage, SHARDS_STAGE).outputs]
    manifest = release_manifest(storage, settings, version, tally, shards)
    for split in SPLITS:
        for name, data in shard_lists(_tars(shards, split), split, f"{manifest['name']}-{version}-{split}"):
            writer.write_bytes(f"{folder}/{name}", data)
    indexes = [output for output in shards if not output.name.endswith(".tar")]
    write_metadata(storage, writer, folder, manifest, SAMPLES_NAME, tally, settings.card, indexes)
    written = [replace(output, name=release_name(version, output.name)) for output in writer.outputs]
    manifest["files"] = {o.name: {"sha256": o.sha256, "num_bytes": o.num_bytes} for o in [*indexes, *written]}
    data = readable_json(manifest)
    writer.write_bytes(f"{folder}/{SEAL_NAME}", f"{digest_bytes(data)}  manifest.json\n".encode())
    writer.write_bytes(f"{folder}/manifest.json", data)
    num_samples = sum(split["num_samples"] for split in manifest["splits"].values())
    return Counts(num_samples, num_samples)


def release_manifest(
    storage: Storage, settings: PipelineSettings, version: str, tally: ReleaseTally, shards: list[OutputFile]
) -> dict[str, Any]:
    """All that the release is: splits and shards with their digests, parent, inputs, settings, counts by stage."""
    stages = {stage: read_stage(storage, stage) for stage in DATA_STAGES}
    parent = read_parent(storage)
    own = (o.name for o in shards if o.name.endswith(".tar") and not o.name.startswith("../"))
    splits: dict[str, Any] = {}
    for split in SPLITS:
        splits[split] = {
            "num_samples": tally.splits[split],
            "num_species": len(tally.species[split]),
            "shards": [
                {"name": o.name, "sha256": o.sha256, "num_bytes": o.num_bytes, "num_samples": o.num_rows} for o in _tars(shards, split)
            ],
        }
    has_tail = any(output.name == TAIL_NAME for output in stages["release"].outputs)
    return {
        "schema_version": MANIFEST_SCHEMA_VERSION,
        "name": settings.release.name,
        "version": version,
        "code_version": __version__,
        "parent": asdict(parent),
        "release_key": stages["release"].partitions[0].key,
        "shard_form": SHARD_FORM,
        "next_shards": next_shards(open_parent(storage, parent.version, settings), own),
        "splits": splits,
        "inputs": {stage: manifest.digest for stage, manifest in stages.items()}
        | gate_inputs(storage, settings)
        | rule_inputs(storage, settings),
        "sources": {source.name: _archive_digest(stages["records"], source.name) for source in settings.sources},
        "snapshots": _snapshots(storage, stages["records"]),
        "backbones": {partition.name: partition.key for partition in stages["backbones"].partitions},
        "settings": json.loads(json.dumps({section: meaningful(getattr(settings, section)) for section in _DATA_SECTIONS})),
        "counts": {stage: manifest.counts.to_dict() for stage, manifest in stages.items()},
        **({"tail": json.loads(storage.read_bytes(TAIL_NAME))} if has_tail else {}),
    }


def _tars(files: list[OutputFile], split: str) -> list[OutputFile]:
    return [output for output in files if f"shards/{split}/" in output.name and output.name.endswith(".tar")]


def _rule_tables(storage: Storage) -> list[str]:
    """Tables that the stage `release` writes only where a setting asks for them."""
    return [o.name for o in read_stage(storage, "release").outputs if o.name in {HELDOUT_LIST_NAME, TEXTS_NAME, TRAIN_SMALL_NAME}]


def _archive_digest(records: StageManifest, name: str) -> str:
    return next(partition.key for partition in records.partitions if partition.name == name)


def _snapshots(storage: Storage, records: StageManifest) -> dict[str, Any]:
    """Snapshot of each source and the digests of its files. When it was made is told beside the records: no part of what a release is."""
    names = sorted({"/".join(output.name.split("/")[1:3]) for output in records.outputs if output.name.count("/") > 2})
    found = [json.loads(storage.read_bytes(f"records/{name}/_snapshot.json")) for name in names]
    return {one["source"]: {"snapshot": one["snapshot"], "digests": one["digests"]} for one in found}
