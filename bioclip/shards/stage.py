"""The stages `shards` and `publish`: a release's tars, and the manifest that makes it one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bioclip import __version__
from bioclip.accounting import Counts
from bioclip.digests import digest_bytes, digest_value, readable_json
from bioclip.download.stage import images_name
from bioclip.partitions import OutputFile, PartitionJob, PartitionWriter, StageManifest, read_stage
from bioclip.records import partition_bounds, partition_of
from bioclip.release.balance import TAIL_NAME
from bioclip.release.gate import FINGERPRINTS_NAME, LEAKS_NAME, gate_inputs
from bioclip.release.heldout import HELDOUT_LIST_NAME
from bioclip.release.reading import RELEASES_DIR, SEAL_NAME, SPLITS
from bioclip.release.stage import SAMPLES_NAME, rule_inputs
from bioclip.release.texts import TEXTS_NAME, Texts, read_texts, text_key
from bioclip.release.train_small import TRAIN_SMALL_NAME
from bioclip.settings import PipelineSettings, ShardSettings, meaningful
from bioclip.shards.card import release_card
from bioclip.shards.index import index_name, index_table, shard_lists
from bioclip.shards.tars import sample_members, shard_jpeg, write_tar
from bioclip.storage import Storage

SHARDS_STAGE, PUBLISH_STAGE = "shards", "publish"
MANIFEST_SCHEMA_VERSION = 2
_VERSION = 2
_PUBLISH_VERSION = 3
_DATA_STAGES = ("records", "images", "backbones", "taxonomy", "duplicates", "release", "shards")
_DATA_SECTIONS = ("ingest", "download", "duplicates", "taxonomy", "release", "leakage", "shards")


def release_version(storage: Storage, settings: PipelineSettings) -> str:
    """Version of the release that the workspace's tables give: 12 hexadecimal digits of a digest over samples and shard settings."""
    samples = read_stage(storage, "release").digest
    return version_of(settings.release.name, samples, meaningful(settings.shards))


def version_of(name: str, samples_digest: str, shard_settings: Any) -> str:
    """Version of the release of that name, digest of the stage `release` and (meaningful) settings of the shards."""
    return digest_value([name, samples_digest, shard_settings, _VERSION])[:12]


def plan_shards(storage: Storage, settings: PipelineSettings) -> list[PartitionJob]:
    """One job for each partition of images that has samples."""
    version = release_version(storage, settings)
    shards = _shards_of_partitions(storage, settings)
    texts = _texts(storage)
    images = {output.name: output.sha256 for output in read_stage(storage, "images").outputs}
    return [
        PartitionJob(
            stage=SHARDS_STAGE,
            name=f"part-{index:05d}",
            directory=f"{RELEASES_DIR}/{version}/partitions",
            version=_VERSION,
            inputs={"samples": digest_value(members), "images": images[images_name(index)]} | _text_input(texts, members),
            settings=digest_value(meaningful(settings.shards)),
            work=write_partition,
            storage=storage,
            arguments={"index": index, "num_partitions": settings.ingest.num_partitions, "version": version, "settings": settings.shards},
        )
        for index, members in sorted(shards.items())
    ]


def _shards_of_partitions(storage: Storage, settings: PipelineSettings) -> dict[int, list[dict[str, Any]]]:
    partitions: dict[int, list[dict[str, Any]]] = {}
    for sample in _samples(storage):
        if sample["split"]:
            partitions.setdefault(partition_of(sample["record_id"], settings.ingest.num_partitions), []).append(sample)
    return partitions


def _texts(storage: Storage) -> Texts:
    """Further texts by taxon; none where no setting asks for them."""
    return read_texts(storage, TEXTS_NAME) if TEXTS_NAME in _rule_tables(storage) else {}


def _text_input(texts: Texts, samples: list[dict[str, Any]]) -> dict[str, str]:
    """Digest of the texts of some samples' taxa, so that a changed text writes those shards alone again."""
    keys = sorted({text_key(sample) for sample in samples} & texts.keys())
    return {"texts": digest_value([[list(key), texts[key]] for key in keys])} if texts else {}


def _samples(storage: Storage, bounds: tuple[str, str] = ("", "g")) -> list[dict[str, Any]]:
    """Rows of samples.parquet whose record ids lie in [first, following): row groups outside are not read."""
    with storage.reader(SAMPLES_NAME) as stream:
        rows: list[dict[str, Any]] = pq.read_table(
            stream, filters=[("record_id", ">=", bounds[0]), ("record_id", "<", bounds[1])]
        ).to_pylist()
    return rows


def write_partition(
    storage: Storage, writer: PartitionWriter, *, index: int, num_partitions: int, version: str, settings: ShardSettings
) -> Counts:
    """Write every shard whose samples lie in partition `index`, sample by sample in order of record id, each with its index beside it."""
    shards: dict[str, list[dict[str, Any]]] = {}
    for sample in _samples(storage, partition_bounds(index, num_partitions)):
        if sample["split"]:
            shards.setdefault(sample["shard"], []).append(sample)
    with storage.reader(images_name(index)) as stream:
        images = pq.read_table(stream, columns=["record_id", "format", "width", "height", "image"])
    num_written, texts = 0, _texts(storage)
    for name, samples in sorted(shards.items()):
        with writer.open(f"{RELEASES_DIR}/{version}/{name}", num_rows=len(samples)) as sink:
            tar = write_tar(sink, _members(samples, images, settings, texts))
        writer.write_table(f"{RELEASES_DIR}/{version}/{index_name(name)}", index_table(tar, name))
        num_written += len(tar.keys)
    return Counts(sum(map(len, shards.values())), num_written)


def _members(
    samples: list[dict[str, Any]], images: pa.Table, settings: ShardSettings, texts: Texts
) -> Iterator[tuple[str, Iterator[tuple[str, bytes]]]]:
    """(key, members) of each sample; `images` are those of the partition."""
    place = {record_id: row for row, record_id in enumerate(images["record_id"].to_pylist())}
    formats, widths, heights = (images[name].to_pylist() for name in ("format", "width", "height"))
    for sample in samples:
        row = place[sample["record_id"]]
        jpeg = shard_jpeg(images["image"][row].as_py(), formats[row], (widths[row], heights[row]), settings)
        yield sample["record_id"], sample_members(sample, jpeg, settings.caption, texts.get(text_key(sample), {}))


def plan_publish(storage: Storage, settings: PipelineSettings) -> list[PartitionJob]:
    """One job that completes the release; its manifest names every file's digest."""
    version = release_version(storage, settings)
    digests = {stage: read_stage(storage, stage).digest for stage in _DATA_STAGES}
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
    """Write samples.parquet, what the gate knows and found, the card its seal and, last, manifest.json."""
    folder = f"{RELEASES_DIR}/{version}"
    samples = _samples(storage)
    for name in (SAMPLES_NAME, FINGERPRINTS_NAME, LEAKS_NAME, *_rule_tables(storage)):
        writer.write_bytes(f"{folder}/{name.rsplit('/', 1)[-1]}", storage.read_bytes(name))
    shards = read_stage(storage, SHARDS_STAGE)
    manifest = release_manifest(storage, settings, version, samples, shards)
    writer.write_bytes(f"{folder}/README.md", release_card(manifest, samples).encode())
    for split in SPLITS:
        for name, data in shard_lists(_tars(shards, f"{folder}/shards/{split}/"), f"{manifest['name']}-{version}-{split}"):
            writer.write_bytes(name, data)
    indexes = [output for output in shards.outputs if not output.name.endswith(".tar")]
    manifest["files"] = {
        o.name.removeprefix(f"{folder}/"): {"sha256": o.sha256, "num_bytes": o.num_bytes} for o in [*indexes, *writer.outputs]
    }
    data = readable_json(manifest)
    writer.write_bytes(f"{folder}/{SEAL_NAME}", f"{digest_bytes(data)}  manifest.json\n".encode())
    writer.write_bytes(f"{folder}/manifest.json", data)
    num_samples = sum(split["num_samples"] for split in manifest["splits"].values())
    return Counts(num_samples, num_samples)


def release_manifest(
    storage: Storage, settings: PipelineSettings, version: str, samples: list[dict[str, Any]], shards: StageManifest
) -> dict[str, Any]:
    """All that the release is: splits and shards with their digests, inputs, settings, counts by stage."""
    stages = {stage: read_stage(storage, stage) for stage in _DATA_STAGES}
    prefix = f"{RELEASES_DIR}/{version}/"
    splits: dict[str, Any] = {}
    for split in SPLITS:
        rows = [sample for sample in samples if sample["split"] == split]
        outputs = _tars(shards, f"{prefix}shards/{split}/")
        splits[split] = {
            "num_samples": len(rows),
            "num_species": len({row["species"] for row in rows if row["species"]}),
            "shards": [
                {"name": o.name.removeprefix(prefix), "sha256": o.sha256, "num_bytes": o.num_bytes, "num_samples": o.num_rows}
                for o in outputs
            ],
        }
    has_tail = any(output.name == TAIL_NAME for output in stages["release"].outputs)
    return {
        "schema_version": MANIFEST_SCHEMA_VERSION,
        "name": settings.release.name,
        "version": version,
        "code_version": __version__,
        "splits": splits,
        "inputs": {stage: manifest.digest for stage, manifest in stages.items()}
        | gate_inputs(storage, settings)
        | rule_inputs(storage, settings),
        "sources": {source.name: _archive_digest(stages["records"], source.name) for source in settings.sources},
        "backbones": {partition.name: partition.key for partition in stages["backbones"].partitions},
        "settings": json.loads(json.dumps({section: meaningful(getattr(settings, section)) for section in _DATA_SECTIONS})),
        "counts": {stage: manifest.counts.to_dict() for stage, manifest in stages.items()},
        **({"tail": json.loads(storage.read_bytes(TAIL_NAME))} if has_tail else {}),
    }


def _rule_tables(storage: Storage) -> list[str]:
    """Tables that the stage `release` writes only where a setting asks for them."""
    return [o.name for o in read_stage(storage, "release").outputs if o.name in {HELDOUT_LIST_NAME, TEXTS_NAME, TRAIN_SMALL_NAME}]


def _tars(shards: StageManifest, prefix: str) -> list[OutputFile]:
    return [output for output in shards.outputs if output.name.startswith(prefix) and output.name.endswith(".tar")]


def _archive_digest(records: StageManifest, name: str) -> str:
    return next(partition.key for partition in records.partitions if partition.name == name)
