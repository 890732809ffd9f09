"""Records: one media item of one provider, verbatim, with an identity that is the same on every run and machine."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import pyarrow as pa

from bioclip.digests import digest_value

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
"""Linnaean ranks of a label, from the root; `species` holds the full binomial."""

TAKEN_DOWN = "taken_down"
"""Drop reason of what a takedown list names: ids and URLs at the stage `records`, hashes at `images` and `release`."""

RECORD_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://bioclip-pipeline/records")
"""Fixed namespace of record ids; changing it would rename every image."""

VERBATIM_NAME_COLUMNS = (
    "scientific_name",
    "scientific_name_authorship",
    "taxon_rank",
    "kingdom",
    "phylum",
    "class_",
    "order",
    "family",
    "genus",
    "specific_epithet",
    "vernacular_name",
)
"""What a provider says of an organism's name; two records that agree in all of these share one lineage."""


def record_id(source: str, source_id: str, media_url: str) -> str:
    """UUIDv5 of (source, source id, media URL), in its 36-character form."""
    return str(uuid.uuid5(RECORD_NAMESPACE, f"{source}\x1f{source_id}\x1f{media_url}"))


def partition_of(identifier: str, num_partitions: int) -> int:
    """The partition of a record id: ranges of its first 32 bits (a SHA-1's, hence uniform)."""
    return int(identifier[:8], 16) * num_partitions >> 32


def partition_bounds(index: int, num_partitions: int) -> tuple[str, str]:
    """First possible record id of a partition and of the next, as 8 hexadecimal digits (`g` after the last): for filters on sorted ids."""
    first, following = (-(-(bound << 32) // num_partitions) for bound in (index, index + 1))
    return f"{first:08x}", f"{following:08x}" if following < 1 << 32 else "g"


@dataclass(frozen=True, slots=True)
class Record:
    """One media item. Empty strings mean that the provider says nothing."""

    source: str
    source_id: str
    """The provider's own id of the occurrence or content item."""
    media_url: str
    media_index: int = 0
    """Position among the media of its occurrence, from 0."""
    occurrence_id: str = ""
    observer: str = ""
    license: str = ""
    """Normalised: an SPDX or CC identifier, `LicenseRef-other`, or empty when nothing is stated."""
    license_verbatim: str = ""
    rights_holder: str = ""
    creator: str = ""
    title: str = ""
    media_format: str = ""
    basis_of_record: str = ""
    event_date: str = ""
    latitude: float | None = None
    longitude: float | None = None
    references: str = ""
    image_type: str = ""
    """What the picture shows of the organism where the provider says so, e.g. `specimen`, `camera_trap`, `citizen_science`."""
    quality_grade: str = ""
    """The provider's own grade, e.g. iNaturalist's `research`."""
    identifier: str = ""
    """A taxon identifier that is no name, e.g. a BIN; kept, never matched as a name."""
    crop_x: int | None = None
    """Left edge in pixels of the part of the image that this record is about, with `crop_y`, `crop_width`, `crop_height`; None: all."""
    crop_y: int | None = None
    crop_width: int | None = None
    crop_height: int | None = None
    scientific_name: str = ""
    scientific_name_authorship: str = ""
    taxon_rank: str = ""
    kingdom: str = ""
    phylum: str = ""
    class_: str = ""
    order: str = ""
    family: str = ""
    genus: str = ""
    specific_epithet: str = ""
    vernacular_name: str = ""
    verbatim: Mapping[str, str] = field(default_factory=dict)
    """The provider's further columns, as they came."""

    @property
    def id(self) -> str:
        """UUIDv5; see `record_id`."""
        return record_id(self.source, self.source_id, self.media_url)

    @property
    def lineage_id(self) -> str:
        """Digest of the verbatim names, 32 hexadecimal digits."""
        return lineage_id({name: getattr(self, name) for name in VERBATIM_NAME_COLUMNS})


def lineage_id(names: Mapping[str, str]) -> str:
    """Digest of the verbatim names in VERBATIM_NAME_COLUMNS, 32 hexadecimal digits."""
    return digest_value([names[column] or "" for column in VERBATIM_NAME_COLUMNS])[:32]


_ARROW_TYPES: dict[str, pa.DataType] = {
    "media_index": pa.int32(),
    "latitude": pa.float64(),
    "longitude": pa.float64(),
    "crop_x": pa.int32(),
    "crop_y": pa.int32(),
    "crop_width": pa.int32(),
    "crop_height": pa.int32(),
    "verbatim": pa.map_(pa.string(), pa.string()),
}
RECORD_SCHEMA = pa.schema(
    [pa.field("record_id", pa.string(), nullable=False), pa.field("lineage_id", pa.string(), nullable=False)]
    + [pa.field(f.name, _ARROW_TYPES.get(f.name, pa.string())) for f in fields(Record)]
)
"""records/<source>/<snapshot>/part-*.parquet, sorted by record_id."""


def records_table(records: Iterable[Record]) -> pa.Table:
    """RECORD_SCHEMA table of `records`, in the order given."""
    columns: dict[str, list[Any]] = {name: [] for name in RECORD_SCHEMA.names}
    names = [f.name for f in fields(Record) if f.name != "verbatim"]
    for record in records:
        columns["record_id"].append(record.id)
        columns["lineage_id"].append(record.lineage_id)
        for name in names:
            columns[name].append(getattr(record, name))
        columns["verbatim"].append(sorted(record.verbatim.items()))
    return pa.table(columns, schema=RECORD_SCHEMA)


IMAGE_SCHEMA = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("pixel_sha256", pa.string(), nullable=False),
        pa.field("phash", pa.uint64(), nullable=False),
        pa.field("phash256", pa.binary(32)),
        pa.field("phash_turned", pa.list_(pa.uint64())),
        pa.field("entropy_bits", pa.float32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("num_bytes", pa.int64(), nullable=False),
        pa.field("format", pa.string(), nullable=False),
        pa.field("original_width", pa.int32(), nullable=False),
        pa.field("original_height", pa.int32(), nullable=False),
        pa.field("original_format", pa.string(), nullable=False),
        pa.field("original_sha256", pa.string(), nullable=False),
        pa.field("original_num_bytes", pa.int64(), nullable=False),
        pa.field("exif_orientation", pa.int8(), nullable=False),
        pa.field("final_url", pa.string(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
    ]
)
"""images/part-*.parquet, sorted by record_id. `sha256`, `width`, `height`, `num_bytes`, `format` are of the stored bytes in `image`, whose
pixels are upright; `original_*` are of the bytes as they came. `phash` is big-endian in imagehash's bit order;
`phash256` is imagehash's with hash_size=16, `phash_turned` are those of the mirrored and turned pictures: null unless asked for."""

OUTCOME_SCHEMA = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("media_url", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("http_status", pa.int16()),
        pa.field("attempts", pa.int16(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("etag", pa.string(), nullable=False),
        pa.field("last_modified", pa.string(), nullable=False),
        pa.field("fetched_at", pa.timestamp("ms", tz="UTC")),
        pa.field("elapsed_ms", pa.int32(), nullable=False),
    ]
)
"""outcomes/part-*.parquet: one row a record. `status` is success, permanent or retry_later."""

LINEAGE_SCHEMA = pa.schema(
    [pa.field("lineage_id", pa.string(), nullable=False)]
    + [pa.field(f"verbatim_{name.rstrip('_')}", pa.string()) for name in VERBATIM_NAME_COLUMNS]
    + [
        pa.field("num_records", pa.int64(), nullable=False),
        pa.field("canonical_name", pa.string(), nullable=False),
        pa.field("match_type", pa.string(), nullable=False),
        pa.field("confidence", pa.int16(), nullable=False),
        pa.field("margin", pa.int16(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("matched_id", pa.string(), nullable=False),
        pa.field("matched_name", pa.string(), nullable=False),
        pa.field("accepted_id", pa.string(), nullable=False),
        pa.field("accepted_name", pa.string(), nullable=False),
        pa.field("resolved_rank", pa.string(), nullable=False),
        *(pa.field(rank, pa.string(), nullable=False) for rank in RANKS),
        pa.field("infraspecific", pa.string(), nullable=False),
        pa.field("qualifier", pa.string(), nullable=False),
        pa.field("common_name", pa.string(), nullable=False),
        pa.field("backbone", pa.string(), nullable=False),
        pa.field("rank_sources", pa.string(), nullable=False),
        pa.field("contradicts", pa.string(), nullable=False),
        pa.field("curation", pa.string(), nullable=False),
    ]
)
"""taxonomy/names.parquet: one row a distinct verbatim lineage, sorted by lineage_id. An unresolved one has `match_type` NONE or
AMBIGUOUS, empty ranks, and says why in `reason`. `rank_sources` is one letter a rank of where it comes from, `contradicts` the ranks at
which the record names another taxon, `curation` who decided and why where a person did."""

DUPLICATE_SCHEMA = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("group_id", pa.string(), nullable=False),
        pa.field("kept_record_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("distance", pa.int8(), nullable=False),
        pa.field("diameter", pa.int8(), nullable=False),
    ]
)
"""duplicates/groups.parquet: one row for each image that is in a group of two or more, sorted by (group_id, record_id). The
representative has record_id = kept_record_id = group_id and kind `kept`; others are `duplicate_bytes`, `duplicate_pixels` or
`duplicate_near` with their pHash distance to it. `diameter` is the greatest pHash distance of any two of the group."""

SAMPLE_SCHEMA = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("drop_reason", pa.string(), nullable=False),
        pa.field("drop_detail", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("num_bytes", pa.int64(), nullable=False),
        *(pa.field(rank, pa.string(), nullable=False) for rank in RANKS),
        pa.field("resolved_rank", pa.string(), nullable=False),
        pa.field("common_name", pa.string(), nullable=False),
        pa.field("accepted_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("source_id", pa.string(), nullable=False),
        pa.field("occurrence_id", pa.string(), nullable=False),
        pa.field("media_url", pa.string(), nullable=False),
        pa.field("license", pa.string(), nullable=False),
        pa.field("license_verbatim", pa.string(), nullable=False),
        pa.field("rights_holder", pa.string(), nullable=False),
        pa.field("creator", pa.string(), nullable=False),
        pa.field("basis_of_record", pa.string(), nullable=False),
        pa.field("event_date", pa.string(), nullable=False),
        pa.field("latitude", pa.float64()),
        pa.field("longitude", pa.float64()),
        pa.field("verbatim_name", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
    ]
)
"""releases/<version>/samples.parquet, sorted by record_id: one row for each downloaded image. Samples have a `split` (train, val,
heldout), a `shard` and an empty `drop_reason`; the others an empty split and shard, and the reason."""
