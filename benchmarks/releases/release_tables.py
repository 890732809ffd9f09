"""The tables that the stage `release` reads, for millions of images, written column by column; all pictures are one placeholder of a few
bytes.

Everything about an image is a hash of its number, so each partition is generated independently and memory holds one partition's table
and 20 bytes per image. Names are the bundled backbone's: its genera, each with every epithet. Species are
photographed unevenly (the commonest has about a hundredth of all images, most have a few), in occurrences of one to five images by
observers of whom some are busy; 5 % of the images are duplicates of their neighbour: of its bytes, of its pixels, or near.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from PIL import Image

from benchmarks.releases.release_workspace import HEIGHT, WIDTH
from bioclip import layout
from bioclip.accounting import Counts
from bioclip.digests import digest_value, readable_json
from bioclip.download.chunks import ROW_GROUP_ROWS
from bioclip.images.hashing import THUMBNAIL_BYTES, THUMBNAIL_SIDE
from bioclip.partitions import PartitionJob, PartitionManifest, PartitionWriter, run_partition, write_stage
from bioclip.records import RANKS, partition_bounds
from bioclip.sample import sample_path
from bioclip.schemas import DUPLICATE_SCHEMA, IMAGE_SCHEMA, LINEAGE_SCHEMA, RECORD_SCHEMA
from bioclip.storage import Storage

SOURCES = {"observations": 0.6, "museum": 0.2, "encyclopedia": 0.15, "camera": 0.05}
"""Sources and their share of the occurrences."""
_LICENSES = ("CC-BY-NC-4.0", "CC-BY-4.0", "CC0-1.0", "CC-BY-SA-4.0", "CC-BY-NC-SA-4.0", "")
_BASES = {"museum": "PreservedSpecimen", "camera": "MachineObservation"}
_IMAGES_PER_SPECIES, _IMAGES_PER_OBSERVER = 22, 60
_DUPLICATE_EVERY = 20
_KINDS = ("duplicate_bytes", "duplicate_pixels", "duplicate_near")
_VERSION_BITS = 0xF << 12
"""Bits of an id's first 64 that hold the UUID's version and do not depend on the image."""
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Population:
    """All images of a workspace, by number from 0."""

    num_images: int
    num_partitions: int

    @cached_property
    def occurrence(self) -> npt.NDArray[np.int32]:
        """Occurrence [N] of each image: consecutive numbers, one to five of them."""
        sizes = np.random.default_rng(17).choice(np.arange(1, 6), self.num_images, p=(0.4, 0.25, 0.2, 0.1, 0.05)).astype(np.int8)
        return np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)[: self.num_images]

    @cached_property
    def in_order(self) -> tuple[Numbers, Numbers]:
        """(image numbers [N] in order of record id, start of each partition [P + 1])."""
        heads = mixed(np.arange(self.num_images), 1) & ~np.uint64(_VERSION_BITS)
        order = np.argsort(heads, kind="stable")
        firsts = [int(partition_bounds(index, self.num_partitions)[0], 16) << 32 for index in range(self.num_partitions)]
        return order, np.append(np.searchsorted(heads[order], np.array(firsts, np.uint64)), self.num_images)

    def partition(self, index: int) -> Numbers:
        """Image numbers of a partition, in order of record id."""
        order, starts = self.in_order
        return order[starts[index] : starts[index + 1]]

    @property
    def num_taxa(self) -> int:
        """Distinct verbatim lineages."""
        return max(20, self.num_images // _IMAGES_PER_SPECIES)

    def taxon(self, numbers: Numbers) -> Numbers:
        """Number of each image's lineage; low numbers are frequent."""
        share = _unit(self.occurrence[numbers], 2)
        return np.minimum((self.num_taxa * share**3).astype(np.int64), self.num_taxa - 1)

    def source(self, numbers: Numbers) -> Numbers:
        """Place of each image's source in SOURCES."""
        return np.searchsorted(np.cumsum(list(SOURCES.values()))[:-1], _unit(self.occurrence[numbers], 3), side="right")

    def kept(self, numbers: Numbers) -> tuple[Numbers, Numbers]:
        """(number of the image that each is a duplicate of or itself, place of the kind in `_KINDS` or -1)."""
        is_copy = (numbers % _DUPLICATE_EVERY == 0) & (numbers + 1 < self.num_images)
        return numbers + is_copy, np.where(is_copy, numbers // _DUPLICATE_EVERY % len(_KINDS), -1)


def mixed(numbers: npt.NDArray[Any], salt: int) -> npt.NDArray[np.uint64]:
    """64 uniform bits for each number (SplitMix64: Steele, Lea and Flood 2014)."""
    bits = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(salt * 0xD1B54A32D192ED03 % 2**64)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _unit(numbers: npt.NDArray[Any], salt: int) -> npt.NDArray[np.float64]:
    return mixed(numbers, salt).astype(np.float64) / 2.0**64


def _hexadecimal(numbers: npt.NDArray[Any], salts: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """ASCII [N, 16 x salts]."""
    words = np.stack([mixed(numbers, salt) for salt in salts], axis=1).astype(">u8")
    data = words.view(np.uint8).reshape(len(numbers), -1)
    text = np.empty((len(numbers), 2 * data.shape[1]), np.uint8)
    text[:, 0::2], text[:, 1::2] = _HEX[data >> 4], _HEX[data & 15]
    return text


def _strings(text: npt.NDArray[np.uint8]) -> pa.Array:
    offsets = np.arange(len(text) + 1, dtype=np.int32) * text.shape[1]
    return pa.Array.from_buffers(pa.string(), len(text), [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(text))])


def record_ids(numbers: Numbers) -> pa.Array:
    """UUIDs of version 5's form, whose order is that of `mixed(numbers, 1)` without _VERSION_BITS."""
    digits = _hexadecimal(numbers, (1, 4))
    digits[:, 12], digits[:, 16] = ord("5"), ord("a")
    text = np.full((len(numbers), 36), ord("-"), np.uint8)
    for start, first, last in ((0, 0, 8), (9, 8, 12), (14, 12, 16), (19, 16, 20), (24, 20, 32)):
        text[:, start : start + last - first] = digits[:, first:last]
    return _strings(text)


def hashes(numbers: Numbers, salt: int) -> pa.Array:
    """64 hexadecimal digits in place of a SHA-256."""
    return _strings(_hexadecimal(numbers, (salt, salt + 1, salt + 2, salt + 3)))


def lineage_ids(taxa: Numbers) -> pa.Array:
    """32 hexadecimal digits for each lineage."""
    return _strings(_hexadecimal(taxa, (5, 6)))


def texts(prefix: str, numbers: npt.NDArray[Any], suffix: str = "") -> pa.Array:
    """`<prefix><number><suffix>` of each."""
    return pc.binary_join_element_wise(pa.scalar(prefix), pc.cast(pa.array(numbers), pa.string()), pa.scalar(suffix), "")


def _chosen(values: tuple[str, ...], places: npt.NDArray[Any]) -> pa.Array:
    return pa.array(values, pa.string()).take(pa.array(places))


def taxon_names(taxa: Numbers) -> dict[str, pa.Array]:
    """The seven ranks of each lineage: a real genus with its lineage, and a real epithet."""
    with zipfile.ZipFile(sample_path("backbone")) as archive:
        read = pa.csv.read_csv(io.BytesIO(archive.read("Taxon.tsv")), parse_options=pa.csv.ParseOptions(delimiter="\t", quote_char=False))
    species = read.filter(pc.and_(pc.equal(read["taxonRank"], "species"), pc.not_equal(read["genus"], "")))
    genera = species.group_by("genus", use_threads=False).aggregate([(rank, "first") for rank in RANKS[:5]])
    parts = pc.extract_regex(species["canonicalName"], r"^\S+ (?P<epithet>\S+)$")
    epithets = pc.unique(pc.drop_null(pc.struct_field(parts, "epithet")))
    place, epithet = pa.array(taxa % genera.num_rows), pa.array(taxa // genera.num_rows % len(epithets))
    names = {rank: pc.fill_null(genera[f"{rank}_first"].take(place), "") for rank in RANKS[:5]}
    names["genus"] = genera["genus"].take(place)
    return names | {"species": pc.binary_join_element_wise(names["genus"], epithets.take(epithet), " ")}


def write_tables(storage: Storage, num_images: int, num_partitions: int, has_thumbnails: bool = False) -> None:
    """Write the finished stages before `release`; with thumbnails, of which a fifth of the near duplicates have another picture's."""
    population = Population(num_images, num_partitions)
    names = taxon_names(np.arange(population.num_taxa))
    records = [
        _do(storage, "records", source, f"records/{source}/{_snapshot(source)}", _write_records, population=population, names=names)
        for source in SOURCES
    ]
    images = _do(storage, "images", "images", "images", _write_images, population=population, has_thumbnails=has_thumbnails)
    taxonomy = _do(storage, "taxonomy", "names", "taxonomy", _write_names, population=population, names=names)
    groups = _do(storage, "duplicates", "groups", "duplicates", _write_groups, population=population)
    stages = {"records": records, "images": [images], "taxonomy": [taxonomy], "duplicates": [groups], "backbones": []}
    for stage, manifests in stages.items():
        write_stage(storage, stage, manifests)


def _do(storage: Storage, stage: str, name: str, directory: str, work: Any, **arguments: Any) -> PartitionManifest:
    population: Population = arguments["population"]
    inputs = {"population": digest_value([population.num_images, population.num_partitions, name])}
    more = {"source": name} if stage == "records" else {}
    return run_partition(PartitionJob(stage, name, directory, 1, inputs, "", work, storage, {**arguments, **more})).manifest


def _snapshot(source: str) -> str:
    return digest_value(source)[:12]


def _write_records(storage: Storage, writer: PartitionWriter, *, population: Population, names: dict[str, pa.Array], source: str) -> Counts:
    folder, total = f"records/{source}/{_snapshot(source)}", 0
    for index in range(population.num_partitions):
        numbers = population.partition(index)
        numbers = numbers[population.source(numbers) == list(SOURCES).index(source)]
        writer.write_table(f"{folder}/part-{index:05d}.parquet", _records(population, numbers, names, source))
        total += len(numbers)
    told = {"source": source, "snapshot": _snapshot(source), "digests": {}, "date": "2026-01-01", "etag": ""}
    storage.write_bytes(f"{folder}/_snapshot.json", readable_json(told))
    return Counts(total, total)


def _records(population: Population, numbers: Numbers, names: dict[str, pa.Array], source: str) -> pa.Table:
    occurrence, taxa = population.occurrence[numbers], population.taxon(numbers)
    num_observers = max(2, population.num_images // _IMAGES_PER_OBSERVER)
    observer = texts("Observer ", (num_observers * _unit(occurrence, 7) ** 2).astype(np.int64))
    license_ = _chosen(_LICENSES, np.minimum((6 * _unit(occurrence, 8) ** 1.5).astype(np.int64), 5))
    day = np.datetime64("2015-01-01") + (3650 * _unit(occurrence, 9)).astype(np.int64)
    columns: dict[str, Any] = {
        "record_id": record_ids(numbers),
        "lineage_id": lineage_ids(taxa),
        "source": _chosen((source,), np.zeros(len(numbers), np.int8)),
        "source_id": texts("", numbers),
        "media_url": texts(f"https://{source}.example/media/", numbers, ".jpg"),
        "media_index": pa.array(np.zeros(len(numbers), np.int32)),
        "occurrence_id": texts(f"https://{source}.example/occurrences/", occurrence),
        "observer": observer,
        "license": license_,
        "license_verbatim": license_,
        "rights_holder": observer,
        "creator": observer,
        "references": texts(f"https://{source}.example/occurrences/", occurrence),
        "basis_of_record": _chosen((_BASES.get(source, "HumanObservation"),), np.zeros(len(numbers), np.int8)),
        "event_date": pa.array(day.astype(str), pa.string()),
        "latitude": pa.array(np.round(180 * _unit(occurrence, 10) - 90, 5)),
        "longitude": pa.array(np.round(360 * _unit(occurrence, 11) - 180, 5)),
        "image_type": _chosen(("specimen" if source == "museum" else "",), np.zeros(len(numbers), np.int8)),
        "scientific_name": names["species"].take(pa.array(taxa)),
        "verbatim": _publishers(source, len(numbers)),
    }
    empty = _chosen(("",), np.zeros(len(numbers), np.int8))
    given = [columns.get(field.name, empty if field.type == pa.string() else pa.nulls(len(numbers), field.type)) for field in RECORD_SCHEMA]
    return pa.table(given, schema=RECORD_SCHEMA)


def _publishers(source: str, num: int) -> pa.Array:
    offsets, places = pa.array(np.arange(num + 1, dtype=np.int32)), np.zeros(num, np.int8)
    return pa.MapArray.from_arrays(offsets, _chosen(("publisher",), places), _chosen((f"The {source} of all",), places))


def _write_images(storage: Storage, writer: PartitionWriter, *, population: Population, has_thumbnails: bool) -> Counts:
    sink = io.BytesIO()
    Image.new("RGB", (8, 8), (40, 90, 40)).save(sink, "JPEG")
    for index in range(population.num_partitions):
        numbers = population.partition(index)
        table = _images(population, numbers, sink.getvalue())
        if has_thumbnails:
            place = IMAGE_SCHEMA.get_field_index("thumbnail")
            table = table.set_column(place, IMAGE_SCHEMA.field(place), _thumbnails(population, numbers))
        writer.write_table(layout.images_part(index), table, row_group_rows=ROW_GROUP_ROWS)
    return Counts(population.num_images, population.num_images)


def _images(population: Population, numbers: Numbers, picture: bytes) -> pa.Table:
    kept, kind = population.kept(numbers)
    sha256 = hashes(np.where(kind == 0, kept, numbers), 12)
    phash = mixed(kept, 20) ^ np.where(kind == 2, np.uint64(0b101), np.uint64(0))
    same: dict[str, Any] = {
        "entropy_bits": 7.0, "width": WIDTH, "height": HEIGHT, "num_bytes": 12_000, "format": "JPEG", "original_width": 4 * WIDTH,
        "original_height": 4 * HEIGHT, "original_format": "JPEG", "original_num_bytes": 250_000, "exif_orientation": 1, "final_url": "",
        "image": picture, "thumbnail": None, "phash_turned": None,
    }  # fmt: skip
    columns = {name: pa.repeat(pa.scalar(value, IMAGE_SCHEMA.field(name).type), len(numbers)) for name, value in same.items()}
    columns |= {
        "record_id": record_ids(numbers),
        "sha256": sha256,
        "original_sha256": sha256,
        "pixel_sha256": hashes(np.where(kind >= 0, np.where(kind == 2, numbers, kept), numbers), 16),
        "phash": pa.array(phash),
    }
    return pa.table([columns[name] for name in IMAGE_SCHEMA.names], schema=IMAGE_SCHEMA)


def _thumbnails(population: Population, numbers: Numbers) -> pa.Array:
    """Pictures of 6 x 6 cosines; copies have that of the image that is kept for them, every fifth near copy has its own."""
    kept, kind = population.kept(numbers)
    shown = np.where((kind == 2) & (numbers // _DUPLICATE_EVERY % 5 == 0), numbers, kept)
    waves = np.cos(np.pi * np.outer(np.arange(6), np.arange(THUMBNAIL_SIDE) + 0.5) / THUMBNAIL_SIDE)
    amplitudes = np.stack([_unit(shown, 100 + wave) - 0.5 for wave in range(36)], axis=1).reshape(-1, 6, 6)
    amplitudes /= 1.0 + np.add.outer(np.arange(6), np.arange(6))
    pictures = np.clip(128 + 200 * (waves.T @ amplitudes @ waves), 0, 255).astype(np.uint8)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(THUMBNAIL_BYTES), len(numbers), [None, pa.py_buffer(pictures)])


def _write_names(storage: Storage, writer: PartitionWriter, *, population: Population, names: dict[str, pa.Array]) -> Counts:
    taxa = np.arange(population.num_taxa)
    is_unknown, is_genus = pa.array(taxa % 100 == 1), pa.array(np.isin(taxa % 100, (2, 3, 4)))
    blank = pa.scalar("")
    ranks = {rank: pc.if_else(is_unknown, blank, names[rank]) for rank in RANKS[:6]}
    ranks["species"] = pc.if_else(pc.or_(is_unknown, is_genus), blank, names["species"])
    columns: dict[str, Any] = {
        **ranks,
        "lineage_id": lineage_ids(taxa),
        "verbatim_scientific_name": names["species"],
        "canonical_name": names["species"],
        "match_type": pc.if_else(is_unknown, "NONE", "EXACT"),
        "reason": pc.if_else(is_unknown, "not_in_backbone", ""),
        "accepted_id": pc.if_else(is_unknown, blank, texts("taxon:", taxa)),
        "accepted_name": pc.if_else(is_unknown, blank, names["species"]),
        "resolved_rank": pc.if_else(is_unknown, blank, pc.if_else(is_genus, "genus", "species")),
        "common_name": pc.if_else(pa.array(taxa % 3 == 0), texts("common name ", taxa), blank),
        "backbone": pa.repeat(pa.scalar("benchmark"), len(taxa)),
    }
    for field in LINEAGE_SCHEMA:
        if field.name not in columns:
            columns[field.name] = pa.repeat(pa.scalar("" if field.type == pa.string() else 100, field.type), len(taxa))
    table = pa.table([columns[name] for name in LINEAGE_SCHEMA.names], schema=LINEAGE_SCHEMA)
    writer.write_table(layout.NAMES, table.sort_by("lineage_id"))
    return Counts(len(taxa), len(taxa))


def _write_groups(storage: Storage, writer: PartitionWriter, *, population: Population) -> Counts:
    copies = np.arange(0, population.num_images - 1, _DUPLICATE_EVERY)
    kept, kind = population.kept(copies)
    group = record_ids(kept)
    distance = np.where(kind == 2, 2, 0).astype(np.int8)
    copy = [record_ids(copies), group, group, _chosen(_KINDS, kind), pa.array(distance), pa.array(distance)]
    best = [group, group, group, _chosen(("kept",), np.zeros(len(kept), np.int8)), pa.array(np.zeros_like(distance)), pa.array(distance)]
    table = pa.concat_tables([pa.table(columns, schema=DUPLICATE_SCHEMA) for columns in (copy, best)])
    writer.write_table(layout.DUPLICATE_GROUPS, table.sort_by([("group_id", "ascending"), ("record_id", "ascending")]))
    return Counts(table.num_rows, table.num_rows)
