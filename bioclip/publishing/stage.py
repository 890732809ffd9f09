"""The stage `publish`: descriptions and manifest, which make a folder of shards a release."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from typing import Any

from bioclip import __version__, layout
from bioclip.accounting import Counts
from bioclip.digests import digest_bytes, digest_value, readable_json
from bioclip.leakage.release_gate import gate_inputs
from bioclip.partitions import OutputFile, PartitionJob, PartitionWriter, StageManifest, read_stage
from bioclip.publishing import write_metadata
from bioclip.publishing.sample_counts import SampleCounts, count_samples
from bioclip.releases.manifest import SPLITS, release_name
from bioclip.selection.parent import SHARD_FORM, next_shards, open_parent, read_parent
from bioclip.selection.stage import rule_inputs
from bioclip.settings import PipelineSettings, meaningful
from bioclip.shards.index import shard_lists
from bioclip.shards.stage import SHARDS_STAGE, release_version, rule_tables
from bioclip.stages import find_stage, manifest_stages
from bioclip.storage import Storage

STAGE = find_stage("publish")
MANIFEST_SCHEMA_VERSION = 2
_VERSION = 7
_COPY_BYTES = 1 << 20
_COPIED = (layout.SAMPLES, layout.FINGERPRINTS, layout.LEAKS, layout.EVALUATED)
"""Tables of the stage `release` that every release has."""


def plan_publish(storage: Storage, settings: PipelineSettings) -> list[PartitionJob]:
    """One job that completes the release; its manifest states the digest of every file."""
    version = release_version(storage, settings)
    digests = {stage: read_stage(storage, stage).digest for stage in manifest_stages()}
    return [
        PartitionJob(
            stage=STAGE.name,
            name="publish",
            directory=layout.release_partitions_dir(version),
            version=_VERSION,
            inputs=digests | rule_inputs(storage, settings),
            settings=digest_value({section: meaningful(getattr(settings, section)) for section in STAGE.sections}),
            work=publish,
            storage=storage,
            arguments={"version": version, "settings": settings},
        )
    ]


def publish(storage: Storage, writer: PartitionWriter, *, version: str, settings: PipelineSettings) -> Counts:
    """Write samples.parquet, fingerprints and evidence of the leakage gate, all descriptions, the seal and, last, manifest.json."""
    folder = layout.release_dir(version)
    for name in (*map(layout.in_splits, _COPIED), *rule_tables(storage)):
        with storage.reader(name) as source, writer.open(f"{folder}/{name.rsplit('/', 1)[-1]}") as sink:
            shutil.copyfileobj(source, sink, _COPY_BYTES)
    sample_counts = count_samples(storage, layout.in_splits(layout.SAMPLES))
    shards = [replace(output, name=release_name(version, output.name)) for output in read_stage(storage, SHARDS_STAGE).outputs]
    manifest = release_manifest(storage, settings, version, sample_counts, shards)
    for split in SPLITS:
        for name, data in shard_lists(_tars(shards, split), split, f"{manifest['name']}-{version}-{split}"):
            writer.write_bytes(f"{folder}/{name}", data)
    indexes = [output for output in shards if not output.name.endswith(layout.TAR)]
    write_metadata(storage, writer, folder, manifest, layout.in_splits(layout.SAMPLES), sample_counts, settings.card, indexes)
    written = [replace(output, name=release_name(version, output.name)) for output in writer.outputs]
    manifest["files"] = {o.name: {"sha256": o.sha256, "num_bytes": o.num_bytes} for o in [*indexes, *written]}
    data = readable_json(manifest)
    writer.write_bytes(f"{folder}/{layout.SEAL}", f"{digest_bytes(data)}  {layout.MANIFEST}\n".encode())
    writer.write_bytes(f"{folder}/{layout.MANIFEST}", data)
    num_samples = sum(split["num_samples"] for split in manifest["splits"].values())
    return Counts(num_samples, num_samples)


def release_manifest(
    storage: Storage, settings: PipelineSettings, version: str, sample_counts: SampleCounts, shards: list[OutputFile]
) -> dict[str, Any]:
    """The content of manifest.json: splits and shards with their digests, parent, inputs, settings, counts by stage."""
    stages = {stage: read_stage(storage, stage) for stage in manifest_stages()}
    parent = read_parent(storage)
    own = (o.name for o in shards if o.name.endswith(layout.TAR) and not o.name.startswith("../"))
    splits: dict[str, Any] = {}
    for split in SPLITS:
        splits[split] = {
            "num_samples": sample_counts.splits[split],
            "num_species": len(sample_counts.species[split]),
            "shards": [
                {"name": o.name, "sha256": o.sha256, "num_bytes": o.num_bytes, "num_samples": o.num_rows} for o in _tars(shards, split)
            ],
        }
    has_tail = any(output.name == layout.in_splits(layout.LONG_TAIL) for output in stages["release"].outputs)
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
        "settings": json.loads(json.dumps({section: meaningful(getattr(settings, section)) for section in STAGE.sections})),
        "counts": {stage: manifest.counts.to_dict() for stage, manifest in stages.items()},
        **({"tail": json.loads(storage.read_bytes(layout.in_splits(layout.LONG_TAIL)))} if has_tail else {}),
    }


def _tars(files: list[OutputFile], split: str) -> list[OutputFile]:
    return [output for output in files if f"{layout.split_dir(split)}/" in output.name and output.name.endswith(layout.TAR)]


def _archive_digest(records: StageManifest, name: str) -> str:
    return next(partition.key for partition in records.partitions if partition.name == name)


def _snapshots(storage: Storage, records: StageManifest) -> dict[str, Any]:
    """Snapshot of each source and the digests of its files; its time is stored with the records and is not part of a release."""
    snapshots = sorted({layout.snapshot_of(output.name) for output in records.outputs if output.name.count("/") > 2})
    found = [json.loads(storage.read_bytes(layout.snapshot_file(*snapshot))) for snapshot in snapshots]
    return {one["source"]: {"snapshot": one["snapshot"], "digests": one["digests"]} for one in found}
