"""Duplicates within any collection of images: every image hashed once, pairs and groups as tables, and what was left out by reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bioclip.accounting import Counts
from bioclip.duplicates.correlation import read_thumbnails
from bioclip.duplicates.grouping import KEPT, KINDS, Groups, group_similar
from bioclip.duplicates.hamming.blocks import IndexArray
from bioclip.duplicates.similarity import ImageTable, Similarity, find_similarity
from bioclip.evaluation_sets.evaluation_set import EvaluationSet
from bioclip.evaluation_sets.hashing import HashedImage, hash_images
from bioclip.evaluation_sets.reading import read_evaluation_set
from bioclip.images.hashing import THUMBNAIL_BYTES
from bioclip.licenses import is_allowed
from bioclip.releases.manifest import SPLITS
from bioclip.settings import DownloadSettings, DuplicateSettings, EvaluationSetSettings

PAIR_SCHEMA = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("other_record_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("distance", pa.int8()),
    ]
)
"""pairs.parquet. `kind`: same_bytes, same_pixels, same_hash or near. Copies are paired with the first of them, and near hashes by the
first image of each, so that the number of pairs grows with the images and not with their square. `distance` is in pHash bits."""

GROUP_SCHEMA = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in ("record_id", "kept_record_id", "kind", "label", "source", "license")]
    + [pa.field(name, pa.int16()) for name in ("distance", "diameter")]
    + [pa.field(name, pa.int32()) for name in ("width", "height")]
)
"""groups.parquet: one row for each image in a group of two or more, kept ones included; sorted by (kept_record_id, record_id)."""


@dataclass(frozen=True)
class _Image:
    """An image of the collection that has something to compare."""

    record_id: str
    label: str
    source: str
    license: str
    sha256: str
    pixel_sha256: str
    phash: int | None
    thumbnail: bytes | None
    entropy_bits: float
    width: int
    height: int


@dataclass(frozen=True)
class CollectionDuplicates:
    """`pairs` (PAIR_SCHEMA) and `groups` (GROUP_SCHEMA) of the images of `collection`; `counts`: read, hashed, dropped, notes."""

    pairs: pa.Table
    groups: pa.Table
    collection: EvaluationSet
    counts: Counts


def open_collection(path: Path) -> EvaluationSet:
    """All images of a folder, table, COCO document, tars or release; raises SettingsError for any other path."""
    return read_evaluation_set(EvaluationSetSettings(name="collection", path=str(path), splits=SPLITS))


def find_collection_duplicates(
    collection: EvaluationSet, settings: DuplicateSettings, num_threads: int, full_decode: bool = False
) -> CollectionDuplicates:
    """Hash all images and group them by `settings`; the result does not depend on the number of threads.
    `full_decode` is that of DownloadSettings.

    An item without an image is compared by the hashes that the collection states. The image of a group that is kept has most pixels, then
    a redistributable licence, then a label, then the smaller id.
    """
    decoding = DownloadSettings(store="original", full_decode=full_decode)
    hashed = list(hash_images(collection, decoding, num_threads))
    usable, failed = _usable(collection, hashed)
    images = _image_table(usable, settings)
    similarity = find_similarity(images, settings.radius, None, settings.min_correlation, settings.crowd_size)
    groups = group_similar(images, similarity, settings.grouping)
    table = _groups_table(usable, groups)
    notes = {
        "groups": int((groups.kind == 0).sum()),
        "images_in_groups": len(groups.index),
        **{kind: int((groups.kind == place).sum()) for place, kind in enumerate(KINDS) if kind != KEPT},
        "groups_with_several_labels": _num_conflicts(table),
        "too_flat_for_phash": int((images.is_flat & ~images.is_missing).sum()),
        "without_phash": int(images.is_missing.sum()),
        **{name: similarity.counts.get(name, 0) for name in ("near_pairs_refused", "near_pairs_unconfirmed", "comparisons_left_out")},
    }
    dropped = Counter(collection.counts.dropped) + failed
    counts = Counts(len(usable) + dropped.total(), len(usable), dict(dropped), notes)
    return CollectionDuplicates(_pairs_table(usable, images, similarity), table, collection, counts)


def _usable(collection: EvaluationSet, hashed: list[HashedImage]) -> tuple[list[_Image], Counter[str]]:
    """Images with a hash, in order of id, and the number of the others by reason."""
    failed: Counter[str] = Counter()
    usable = []
    columns = ["item_id", "label", "source", "license", "sha256", "pixel_sha256", "phash", "thumbnail", "image"]
    for row, one in zip(collection.table.select(columns).to_pylist(), hashed, strict=True):
        texts = (row["item_id"], row["label"] or "", row["source"] or "", row["license"] or "")
        if not one.reason:
            hashes = (one.sha256 or "", one.pixel_sha256 or "", one.phash, one.thumbnail)
            usable.append(_Image(*texts, *hashes, one.entropy_bits, one.width, one.height))
        elif row["image"] is not None:
            failed[one.reason] += 1
        elif row["sha256"] or row["pixel_sha256"] or row["phash"] is not None:
            hashes = (row["sha256"] or "", row["pixel_sha256"] or "", row["phash"], row["thumbnail"])
            usable.append(_Image(*texts, *hashes, 8.0, 0, 0))
        else:
            failed["nothing_to_compare"] += 1
    return sorted(usable, key=lambda image: image.record_id), failed


def _image_table(usable: list[_Image], settings: DuplicateSettings) -> ImageTable:
    def text(name: str) -> Any:
        return np.array([getattr(one, name) for one in usable], dtype=object)

    missing = np.array([one.phash is None for one in usable], bool)
    phash = np.array([one.phash or 0 for one in usable], np.uint64)
    entropy = np.array([one.entropy_bits for one in usable])
    order = sorted(range(len(usable)), key=lambda index: _rank(usable[index]))
    precedence = np.empty(len(usable), np.int64)
    precedence[order] = np.arange(len(order))
    thumbnails = pa.array([one.thumbnail for one in usable], pa.binary(THUMBNAIL_BYTES))
    return ImageTable(
        record_id=text("record_id"),
        sha256=text("sha256"),
        pixel_sha256=text("pixel_sha256"),
        phash=phash,
        is_flat=missing | (entropy < settings.min_entropy_bits) | (np.bitwise_count(phash) <= 1),
        precedence=precedence,
        thumbnails=lambda indices: read_thumbnails(pa.chunked_array([thumbnails]).take(pa.array(indices))),
        missing=missing,
    )


def _rank(image: _Image) -> tuple[int, bool, bool, str]:
    """The image with the lowest rank of a group is kept."""
    return -image.width * image.height, not is_allowed(image.license, ("open",)), not image.label, image.record_id


def _pairs_table(usable: list[_Image], images: ImageTable, similarity: Similarity) -> pa.Table:
    firsts, seconds, kinds = [], [], []
    seen: set[tuple[int, int]] = set()
    for kind, codes in (("same_bytes", similarity.sha), ("same_pixels", similarity.pixels), ("same_hash", similarity.look)):
        for first, second in zip(*_to_first(codes), strict=True):
            if (first, second) not in seen:
                seen.add((first, second))
                firsts.append(first)
                seconds.append(second)
                kinds.append(kind)
    heads = _heads(similarity.look)
    ends = np.empty((2, 0), np.int64)
    if len(similarity.first):
        ends = np.sort(np.stack([heads[similarity.first], heads[similarity.second]]), axis=0)
    firsts += ends[0].tolist()
    seconds += ends[1].tolist()
    kinds += ["near"] * ends.shape[1]
    has_hash = ~images.is_missing
    bits = np.bitwise_count(images.phash[firsts] ^ images.phash[seconds]) if firsts else np.empty(0, np.uint8)
    both = has_hash[firsts] & has_hash[seconds] if firsts else np.empty(0, bool)
    columns = {
        "record_id": [usable[index].record_id for index in firsts],
        "other_record_id": [usable[index].record_id for index in seconds],
        "kind": kinds,
        "distance": [int(bit) if known else None for bit, known in zip(bits, both, strict=True)],
    }
    return pa.table(columns, schema=PAIR_SCHEMA).sort_by([("record_id", "ascending"), ("other_record_id", "ascending")])


def _to_first(codes: IndexArray) -> tuple[list[int], list[int]]:
    """(first members, later members): each later member of a class with the first one."""
    heads, has = _heads(codes), np.flatnonzero(codes >= 0)
    later = has[heads[codes[has]] != has] if len(has) else has
    return heads[codes[later]].tolist() if len(later) else [], later.tolist()


def _heads(codes: IndexArray) -> IndexArray:
    heads = np.full(codes.max(initial=-1) + 1, len(codes), np.int64)
    has = np.flatnonzero(codes >= 0)
    np.minimum.at(heads, codes[has], has)
    return heads


def _groups_table(usable: list[_Image], groups: Groups) -> pa.Table:
    members = zip(groups.index, groups.kept, groups.kind, groups.distance, groups.diameter, strict=True)
    rows = [
        {
            "record_id": (one := usable[index]).record_id,
            "kept_record_id": usable[kept].record_id,
            "kind": KINDS[kind],
            "label": one.label,
            "source": one.source,
            "license": one.license,
            "distance": int(distance),
            "diameter": int(diameter),
            "width": one.width or None,
            "height": one.height or None,
        }
        for index, kept, kind, distance, diameter in members
    ]
    return pa.Table.from_pylist(rows, schema=GROUP_SCHEMA).sort_by([("kept_record_id", "ascending"), ("record_id", "ascending")])


def _num_conflicts(groups: pa.Table) -> int:
    labels: dict[str, set[str]] = {}
    for kept, label in zip(groups["kept_record_id"].to_pylist(), groups["label"].to_pylist(), strict=True):
        if label:
            labels.setdefault(kept, set()).add(label)
    return sum(len(found) > 1 for found in labels.values())
