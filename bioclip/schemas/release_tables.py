"""Arrow schemas of the tables in a release, most of which the stage `release` writes under splits/."""

from __future__ import annotations

import pyarrow as pa

from bioclip.records import RANKS

SAMPLE_SCHEMA = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("split_reason", pa.string(), nullable=False),
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
heldout), a `split_reason` (a key of `bioclip.selection.splits.SPLIT_REASONS`), a `shard` and an empty `drop_reason`; the others have a
`drop_reason` and an empty split, split reason and shard. `resolved_rank` is the rank of the lowest name, or `label` where `species` is the
source's own label, which no backbone knows; `accepted_id` is then `label:` and the label."""


FINGERPRINT_SCHEMA = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("sha256", pa.string()),
        pa.field("pixel_sha256", pa.string()),
        pa.field("phash", pa.uint64()),
        pa.field("is_flat", pa.bool_()),
        pa.field("source_occurrence", pa.string()),
        pa.field("occurrence_id", pa.string()),
        pa.field("observer", pa.string()),
        pa.field("event_day", pa.string()),
        pa.field("species", pa.string()),
        pa.field("accepted_id", pa.string()),
        pa.field("canonical_name", pa.string()),
        pa.field("thumbnail", pa.binary(256)),
    ]
)
"""One row per image, sorted by record_id; null if unknown, and null never matches.

`sha256` is of the original bytes, `pixel_sha256`, `phash` and `thumbnail` as in images/part-*.parquet, `is_flat` is true where the
pHash is not informative.
`source_occurrence` is comparable among records of one source only, `occurrence_id` is the provider's own. `species` is the accepted
binomial and `accepted_id` `<backbone>:<taxon id>` of a species; both null where the name is not resolved to one. `canonical_name` is the
verbatim name without authors.
"""


LEAK_SCHEMA = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("evaluation_set", pa.string(), nullable=False),
        pa.field("evaluation_record_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("detail", pa.string(), nullable=False),
    ]
)
"""leaks.parquet: one row for each training image, evaluation image and kind of evidence, sorted by these. `value` is the pHash distance
in bits (`leak_near`) or the cosine (`leak_embedding`), null for equality; `detail` names the equal value."""


EVALUATED_SCHEMA = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("is_sample", pa.bool_(), nullable=False),
        pa.field("stored_sha256", pa.string(), nullable=False),
        pa.field("sha256", pa.string()),
        pa.field("pixel_sha256", pa.string()),
        pa.field("phash", pa.uint64()),
        pa.field("is_flat", pa.bool_()),
        pa.field("occurrence", pa.string(), nullable=False),
        pa.field("species", pa.string(), nullable=False),
    ]
)
"""evaluated.parquet, sorted by record_id: every image of `val` and `heldout` in this release or in one that it continues, and the images
that are its duplicates (`is_sample` false). The other columns are those of FINGERPRINT_SCHEMA; `stored_sha256` is of the bytes that
samples hold, `species` is the accepted binomial at that time."""


HELDOUT_LIST_SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("species", pa.string(), nullable=False),
        pa.field("num_images", pa.int64(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
    ]
)
"""splits/heldout_list.parquet: each name of the list in its order, its accepted binomial, and its outcome: `held_out`,
`not_drawn`, `no_image`, `not_resolved` (no backbone knows such a species, and no image has the name) or `other_category`."""


TRAIN_SMALL_SCHEMA = pa.schema([pa.field("record_id", pa.string(), nullable=False), pa.field("shard", pa.string(), nullable=False)])
"""splits/train_small.parquet, sorted by record_id: the training samples of the part and their shards."""


TEXTS_SCHEMA = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in ("accepted_id", "scientific_name", "member", "text", "source", "license")]
)
"""splits/texts.parquet: one row per taxon and member, sorted; `source` and `license` of the text itself where they are known."""


LABEL_CONFLICT_SCHEMA = pa.schema(
    [
        pa.field("group_id", pa.string(), nullable=False),
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("distance", pa.int8(), nullable=False),
        pa.field("rank", pa.string(), nullable=False),
        pa.field("accepted_name", pa.string(), nullable=False),
        pa.field("verbatim_name", pa.string(), nullable=False),
        pa.field("decision", pa.string(), nullable=False),
    ]
)
"""splits/conflicts.parquet: every member of each group whose members have different accepted names, sorted by (group_id, record_id).
`rank` is the highest at which they differ, `accepted_name` the member's name there (empty: none), `decision` the outcome for the group's
kept image: `kept` or `label_conflict`."""


SHARD_INDEX_SCHEMA = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("member", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("num_bytes", pa.int64(), nullable=False),
    ]
)
"""A row for each member in the order of the tar: key and extension of its name, the tar within the release that wrote it, where its
content begins and how long it is, in bytes. Its header is the block of 512 bytes before."""


CATALOG_SCHEMA = pa.schema(
    [
        (name, pa.string())
        for name in (
            "uuid", "source_url", *RANKS, "scientific_name", "common", "data_source", "publisher", "basisOfRecord", "img_type",
            "source_id", "shard_filename", "shard_file_path", "base_dataset_file_path", "basis_of_record", "split",
        )
    ]
)  # fmt: skip
"""catalog.parquet: one row per sample. `species` is the epithet; null if unknown. After TreeOfLife-200M's columns come
`basis_of_record`, as its newer files spell `basisOfRecord`, and `split`."""


PROVENANCE_SCHEMA = pa.schema(
    [
        (name, pa.string())
        for name in (
            "uuid", "source_id", "data_source", "source_url", "license_name", "copyright_owner", "license_link", "title",
            "bibliographicCitation",
        )
    ]
)  # fmt: skip
"""provenance.parquet: one row per sample, in the columns of TreeOfLife-200M."""


ATTRIBUTION_SCHEMA = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        *(
            pa.field(name, pa.string(), nullable=False)
            for name in (
                "license", "license_url", "license_verbatim", "rights_holder", "creator", "title", "source", "source_id", "source_url",
                "occurrence_url",
            )
        ),
        pa.field("needs_attribution", pa.bool_(), nullable=False),
        pa.field("lacks_holder", pa.bool_(), nullable=False),
    ]
)  # fmt: skip
"""attribution.parquet: one row per sample; empty if the provider states nothing. `occurrence_url` is the provider's page of the image or
occurrence. `lacks_holder`: the licence asks for attribution, and neither holder nor creator is known."""


LICENSES_SCHEMA = pa.schema(
    [
        pa.field("license", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("needs_attribution", pa.bool_(), nullable=False),
        pa.field("images", pa.int64(), nullable=False),
        pa.field("images_lacking_holder", pa.int64(), nullable=False),
    ]
)
"""licenses.parquet: one row per licence and address of its text, by number of images. An empty licence means that none is stated."""
