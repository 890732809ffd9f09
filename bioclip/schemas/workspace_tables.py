"""Arrow schemas of the tables in a workspace."""

from __future__ import annotations

from dataclasses import fields

import pyarrow as pa

from bioclip.records import RANKS, VERBATIM_NAME_COLUMNS, Record

_ARROW_TYPES: dict[str, pa.DataType] = {
    "media_index": pa.int32(),
    "latitude": pa.float64(),
    "longitude": pa.float64(),
    "crop_x": pa.int32(),
    "crop_y": pa.int32(),
    "crop_width": pa.int32(),
    "crop_height": pa.int32(),
    "crop_image_width": pa.int32(),
    "crop_image_height": pa.int32(),
    "verbatim": pa.map_(pa.string(), pa.string()),
}


RECORD_SCHEMA = pa.schema(
    [pa.field("record_id", pa.string(), nullable=False), pa.field("lineage_id", pa.string(), nullable=False)]
    + [pa.field(f.name, _ARROW_TYPES.get(f.name, pa.string())) for f in fields(Record)]
)
"""records/<source>/<snapshot>/part-*.parquet, sorted by record_id."""


IMAGE_SCHEMA = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("pixel_sha256", pa.string(), nullable=False),
        pa.field("phash", pa.uint64(), nullable=False),
        pa.field("thumbnail", pa.binary(256)),
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
pixels are upright; `original_*` are of the original bytes. `phash` is big-endian in imagehash's bit order;
`thumbnail` is the image squashed to 16 x 16 grey values, `phash_turned` are the pHashes of the other orientations: null unless
asked for."""


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
"""outcomes/part-*.parquet: one row per record. `status` is success, permanent or retry_later."""


DECISION_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in ("canonical_name", "match_type")),
        *(pa.field(name, pa.int16(), nullable=False) for name in ("confidence", "margin")),
        *(
            pa.field(name, pa.string(), nullable=False)
            for name in ("reason", "matched_id", "matched_name", "accepted_id", "accepted_name", "resolved_rank", *RANKS)
        ),
        *(
            pa.field(name, pa.string(), nullable=False)
            for name in ("infraspecific", "qualifier", "common_name", "backbone", "rank_sources", "contradicts", "curation")
        ),
    ]
)
"""One row per lineage: the fields of Resolution, with one column per rank."""


LINEAGE_SCHEMA = pa.schema(
    [
        pa.field("lineage_id", pa.string(), nullable=False),
        *(pa.field(f"verbatim_{name.rstrip('_')}", pa.string()) for name in VERBATIM_NAME_COLUMNS),
        pa.field("num_records", pa.int64(), nullable=False),
        *DECISION_SCHEMA,
    ]
)
"""taxonomy/names.parquet: one row per distinct verbatim lineage, sorted by lineage_id. An unresolved one has `match_type` NONE or
AMBIGUOUS, empty ranks, and a `reason`; a LABEL has the source's label as `species`, and the `reason` why no backbone resolves it.
`rank_sources` has one letter per rank for its source, `contradicts` the ranks at which the record names another taxon, `curation` who
decided and why, for a manual decision."""


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


FILTER_SCORE_SCHEMA = pa.schema([pa.field("record_id", pa.string(), nullable=False), pa.field("score", pa.float64(), nullable=False)])
"""scores/<filter>/part-*.parquet: one row per scored image, rounded to 6 decimals."""
