"""A small release from the bundled photographs, written with plain tarfile: what the trainer and the evaluator read."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from bioclip.captions import captions
from bioclip.digests import digest_bytes, readable_json
from bioclip.records import RANKS, record_id
from bioclip.releases import Release, open_release
from bioclip.schemas import SAMPLE_SCHEMA
from bioclip.storage import Storage

VERSION = "sample"
SAMPLES_PER_SHARD = 20
IMAGE_PX = 96
NUM_TRAINED_SPECIES, NUM_HELDOUT_SPECIES = 9, 3
IMAGES_PER_SPECIES, VAL_PER_SPECIES = 10, 3

Sample = dict[str, Any]


def write_release(root: Path, without: str = "", samples_per_shard: int = SAMPLES_PER_SHARD) -> Release:
    """The release in a workspace at `root`; split `without` is left empty."""
    storage = Storage(str(root))
    splits: dict[str, list[Sample]] = {"train": [], "val": [], "heldout": []}
    for sample in _samples():
        if sample["split"] != without:
            splits[sample["split"]].append(sample)
    manifest = {
        "name": VERSION,
        "version": VERSION,
        "splits": {split: _write_shards(storage, split, splits[split], samples_per_shard) for split in splits},
    }
    rows = sorted((row for samples in splits.values() for row in samples), key=lambda row: row["record_id"])
    columns = {
        field.name: [row.get(field.name, None if field.nullable else 0 if pa.types.is_integer(field.type) else "") for row in rows]
        for field in SAMPLE_SCHEMA
    }
    with storage.writer(f"releases/{VERSION}/samples.parquet") as stream:
        pq.write_table(pa.table(columns, schema=SAMPLE_SCHEMA), stream)
    storage.write_bytes(f"releases/{VERSION}/manifest.json", readable_json(manifest))
    return open_release(storage, VERSION)


def write_tar(path: Path, samples: Mapping[str, Mapping[str, bytes]]) -> bytes:
    """A WebDataset tar of members by key; returns its bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for key, members in samples.items():
            for name, data in members.items():
                entry = tarfile.TarInfo(f"{key}.{name}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
    return buffer.getvalue()


def _write_shards(storage: Storage, split: str, samples: list[Sample], size: int) -> dict[str, Any]:
    shards = []
    samples.sort(key=lambda sample: sample["record_id"])
    for number, first in enumerate(range(0, len(samples), size)):
        part, name = samples[first : first + size], f"shards/{split}/shard-{number:05d}.tar"
        members = {sample["record_id"]: _members(sample) for sample in part}
        data = write_tar(Path(storage.uri(f"releases/{VERSION}/{name}")), members)
        shards.append({"name": name, "num_samples": len(part), "sha256": digest_bytes(data), "num_bytes": len(data)})
        for sample in part:
            sample["shard"] = name
    return {"num_samples": len(samples), "shards": shards}


def _members(sample: Sample) -> dict[str, bytes]:
    with _archive("media.zip") as archive:
        image = Image.open(io.BytesIO(archive.read(sample["media_url"]))).convert("RGB")
    image.thumbnail((IMAGE_PX, IMAGE_PX))
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=90)
    lineage = {rank: sample[rank] for rank in RANKS}
    about = {**lineage, "record_id": sample["record_id"], "common_name": sample["common_name"]}
    texts = {f"{name}.txt": text.encode() for name, text in captions(lineage, sample["common_name"]).items()}
    return {"jpg": jpeg.getvalue(), "json": json.dumps(about, sort_keys=True).encode(), **texts}


def _samples() -> Iterator[Sample]:
    by_species: dict[str, list[Sample]] = defaultdict(list)
    for sample in _labelled_media():
        by_species[sample["species"]].append(sample)
    chosen = [name for name in sorted(by_species) if len(by_species[name]) >= IMAGES_PER_SPECIES]
    for number, name in enumerate(chosen[: NUM_TRAINED_SPECIES + NUM_HELDOUT_SPECIES]):
        for position, sample in enumerate(by_species[name][:IMAGES_PER_SPECIES]):
            split = "val" if position < VAL_PER_SPECIES else "train"
            yield sample | {"split": "heldout" if number % 4 == 3 else split}


def _labelled_media() -> Iterator[Sample]:
    with _archive("archives/field-observations.zip") as archive:
        occurrences = {row["gbifID"]: row for row in _rows(archive, "occurrence.txt") if row["taxonRank"] == "species"}
        media = [row for row in _rows(archive, "multimedia.txt") if row["coreid"] in occurrences]
    with _archive("media.zip") as archive:
        present = set(archive.namelist())
    for row in sorted(media, key=lambda row: row["identifier"]):
        name, label = row["identifier"].split("/", 3)[3], occurrences[row["coreid"]]
        if name in present:
            lineage = {rank: label[rank] for rank in RANKS[:-1]} | {"species": label["scientificName"]}
            yield {
                **lineage,
                "record_id": record_id("field", row["coreid"], row["identifier"]),
                "common_name": label["vernacularName"],
                "media_url": name,
                "resolved_rank": "species",
            }


def _archive(name: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(str(resources.files("bioclip.sample").joinpath(name)))


def _rows(archive: zipfile.ZipFile, name: str) -> Iterator[dict[str, str]]:
    yield from csv.DictReader(io.StringIO(archive.read(name).decode()), delimiter="\t")
