"""The stages `shards` and `publish`: a release's tars, and the manifest that makes it one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip import __version__
from bioclip.accounting import Counts
from bioclip.digests import digest_bytes, digest_value, readable_json
from bioclip.download.stage import images_name
from bioclip.errors import StorageError
from bioclip.partitions import OutputFile, PartitionJob, PartitionWriter, StageManifest, read_stage
from bioclip.records import partition_bounds, partition_of
from bioclip.release.balance import TAIL_NAME
from bioclip.release.evaluated import EVALUATED_NAME
from bioclip.release.gate import FINGERPRINTS_NAME, LEAKS_NAME, gate_inputs
from bioclip.release.heldout import HELDOUT_LIST_NAME
from bioclip.release.increments import KEPT_SHARDS, SHARD_FORM, next_shards, open_parent, read_parent
from bioclip.release.reading import RELEASES_DIR, SEAL_NAME, SPLITS, open_release, release_name, workspace_name
from bioclip.release.stage import SAMPLES_NAME, rule_inputs
from bioclip.release.texts import TEXTS_NAME, Texts, read_texts, text_key
from bioclip.release.train_small import TRAIN_SMALL_NAME
from bioclip.settings import PipelineSettings, ShardSettings, meaningful
from bioclip.shards.index import index_name, index_table, shard_lists
from bioclip.shards.metadata import write_metadata
from bioclip.shards.tars import sample_members, shard_jpeg, write_tar
from bioclip.storage import Storage

SHARDS_STAGE, PUBLISH_STAGE = "shards", "publish"
MANIFEST_SCHEMA_VERSION = 2
_VERSION = SHARD_FORM
_PUBLISH_VERSION = 7
_IMAGE_COLUMNS = ["record_id", "format", "width", "height", "image"]
_DATA_STAGES = ("records", "images", "backbones", "taxonomy", "duplicates", "release", "shards")
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
    samples = [sample for sample in _samples(storage) if sample["split"]]
    jobs = [
        PartitionJob(
            stage=SHARDS_STAGE,
            name=f"part-{first:05d}" if first == last else f"parts-{first:05d}-{last:05d}",
            directory=directory,
            version=_VERSION,
            inputs={"samples": digest_value(members)} | _image_inputs(images, first, last) | _text_input(texts, members),
            settings=digest_value(meaningful(settings.shards)),
            work=write_partition,
            storage=storage,
            arguments={
                "partitions": (first, last),
                "num_partitions": settings.ingest.num_partitions,
                "version": version,
                "names": sorted({sample["shard"] for sample in members}),
                "settings": settings.shards,
                "has_texts": bool(texts),
            },
        )
        for (first, last), members in sorted(_by_partitions(samples, settings.ingest.num_partitions).items())
    ]
    return jobs + _plan_kept(storage, directory, version, [sample for sample in samples if sample["shard"].startswith("../")])


def _image_inputs(images: Mapping[str, str], first: int, last: int) -> dict[str, str]:
    if first == last:
        return {"images": images[images_name(first)]}
    return {f"images-{index:05d}": images[images_name(index)] for index in range(first, last + 1)}


def _by_partitions(samples: list[dict[str, Any]], num_partitions: int) -> dict[tuple[int, int], list[dict[str, Any]]]:
    """(first, last) partition -> the samples of all shards to be written that lie in just these."""
    shards: dict[str, list[dict[str, Any]]] = {}
    for sample in samples:
        if not sample["shard"].startswith("../"):
            shards.setdefault(sample["shard"], []).append(sample)
    partitions: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for _, members in sorted(shards.items()):
        first, last = (partition_of(sample["record_id"], num_partitions) for sample in (members[0], members[-1]))
        partitions.setdefault((first, last), []).extend(members)
    return {bounds: sorted(members, key=lambda sample: str(sample["record_id"])) for bounds, members in partitions.items()}


def _plan_kept(storage: Storage, directory: str, version: str, samples: list[dict[str, Any]]) -> list[PartitionJob]:
    if not samples:
        return []
    return [
        PartitionJob(
            stage=SHARDS_STAGE,
            name=KEPT_SHARDS,
            directory=directory,
            version=_VERSION,
            inputs={"samples": digest_value([[row["record_id"], row["shard"]] for row in samples]), "parent": read_parent(storage).digest},
            settings="",
            work=keep_shards,
            storage=storage,
            arguments={"version": version, "num_samples": dict(sorted(Counter(sample["shard"] for sample in samples).items()))},
        )
    ]


def keep_shards(storage: Storage, writer: PartitionWriter, *, version: str, num_samples: Mapping[str, int]) -> Counts:
    """Name the shards of earlier releases, and their indexes, as the parent's manifest does; nothing is written.

    Raises StorageError when one of them is no longer there in its whole size.
    """
    parent = open_release(storage, read_parent(storage).version)
    named = {workspace_name(parent.version, name): file for name, file in parent.files().items()}
    for shard, number in num_samples.items():
        for name, num_rows in ((shard, number), (index_name(shard), None)):
            place = workspace_name(version, name)
            sha256, num_bytes = named[place]
            if not storage.exists(place) or storage.num_bytes(place) != num_bytes:
                raise StorageError(
                    f"{storage.uri(place)!r} of release {parent.version} is missing or not of {num_bytes} bytes, so it cannot be used "
                    "again; restore it, or make a release of its own with release.parent set to ''."
                )
            writer.outputs.append(OutputFile(place, sha256, num_bytes, num_rows))
    total = sum(num_samples.values())
    return Counts(total, total, notes={"samples_in_kept_shards": total, "kept_shards": len(num_samples)})


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
    storage: Storage,
    writer: PartitionWriter,
    *,
    partitions: tuple[int, int],
    num_partitions: int,
    version: str,
    names: Sequence[str],
    settings: ShardSettings,
    has_texts: bool = False,
) -> Counts:
    """Write the shards `names`, whose samples lie in the partitions from first to last, in order of record id, each with its index."""
    first, last = partitions
    wanted = set(names)
    shards: dict[str, list[dict[str, Any]]] = {}
    for sample in _samples(storage, (partition_bounds(first, num_partitions)[0], partition_bounds(last, num_partitions)[1])):
        if sample["shard"] in wanted:
            shards.setdefault(sample["shard"], []).append(sample)
    keys = pa.array([sample["record_id"] for samples in shards.values() for sample in samples], pa.string())
    images = pa.concat_tables([part for index in range(first, last + 1) for part in _read_images(storage, index, keys)])
    num_written, texts = 0, read_texts(storage, TEXTS_NAME) if has_texts else {}
    for name, samples in sorted(shards.items()):
        with writer.open(f"{RELEASES_DIR}/{version}/{name}", num_rows=len(samples)) as sink:
            tar = write_tar(sink, _members(samples, images, settings, texts))
        writer.write_table(f"{RELEASES_DIR}/{version}/{index_name(name)}", index_table(tar, name))
        num_written += len(tar.keys)
    return Counts(sum(map(len, shards.values())), num_written)


def _read_images(storage: Storage, index: int, keys: pa.Array) -> Iterator[pa.Table]:
    """The images of a partition that `keys` name; row groups without one of them are not read."""
    with storage.reader(images_name(index)) as stream:
        file = pq.ParquetFile(stream)
        for group in range(file.num_row_groups):
            mask = pc.is_in(file.read_row_group(group, columns=["record_id"])["record_id"], value_set=keys)
            num_wanted = pc.sum(mask).as_py() or 0
            if num_wanted:
                table = file.read_row_group(group, columns=_IMAGE_COLUMNS)
                yield table if num_wanted == table.num_rows else table.filter(mask)


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
    """Write samples.parquet, what the gate knows and found, all metadata, the seal and, last, manifest.json."""
    folder = f"{RELEASES_DIR}/{version}"
    samples = _samples(storage)
    for name in (SAMPLES_NAME, FINGERPRINTS_NAME, LEAKS_NAME, EVALUATED_NAME, *_rule_tables(storage)):
        writer.write_bytes(f"{folder}/{name.rsplit('/', 1)[-1]}", storage.read_bytes(name))
    shards = [replace(output, name=release_name(version, output.name)) for output in read_stage(storage, SHARDS_STAGE).outputs]
    manifest = release_manifest(storage, settings, version, samples, shards)
    for split in SPLITS:
        for name, data in shard_lists(_tars(shards, split), split, f"{manifest['name']}-{version}-{split}"):
            writer.write_bytes(f"{folder}/{name}", data)
    indexes = [output for output in shards if not output.name.endswith(".tar")]
    write_metadata(storage, writer, folder, manifest, SAMPLES_NAME, settings.card, indexes)
    written = [replace(output, name=release_name(version, output.name)) for output in writer.outputs]
    manifest["files"] = {o.name: {"sha256": o.sha256, "num_bytes": o.num_bytes} for o in [*indexes, *written]}
    data = readable_json(manifest)
    writer.write_bytes(f"{folder}/{SEAL_NAME}", f"{digest_bytes(data)}  manifest.json\n".encode())
    writer.write_bytes(f"{folder}/manifest.json", data)
    num_samples = sum(split["num_samples"] for split in manifest["splits"].values())
    return Counts(num_samples, num_samples)


def release_manifest(
    storage: Storage, settings: PipelineSettings, version: str, samples: list[dict[str, Any]], shards: list[OutputFile]
) -> dict[str, Any]:
    """All that the release is: splits and shards with their digests, parent, inputs, settings, counts by stage."""
    stages = {stage: read_stage(storage, stage) for stage in _DATA_STAGES}
    parent = read_parent(storage)
    own = (o.name for o in shards if o.name.endswith(".tar") and not o.name.startswith("../"))
    splits: dict[str, Any] = {}
    for split in SPLITS:
        rows = [sample for sample in samples if sample["split"] == split]
        splits[split] = {
            "num_samples": len(rows),
            "num_species": len({row["species"] for row in rows if row["species"]}),
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
