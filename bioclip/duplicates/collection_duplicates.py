"""Duplicates of any collection: every picture hashed once, pairs and groups as tables, and what was left out by reason."""

from __future__ import annotations

import warnings
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from bioclip.accounting import Counts
from bioclip.digests import digest_bytes
from bioclip.duplicates.collection_images import Picture
from bioclip.duplicates.grouping import KEPT, KINDS, Groups, group_alike
from bioclip.duplicates.hamming.blocks import IndexArray
from bioclip.duplicates.similarity import ImageFacts, Likeness, find_likeness
from bioclip.images.checking import RefusedImage, check_image
from bioclip.licenses import is_allowed
from bioclip.settings import DownloadSettings, DuplicateSettings

PAIR_SCHEMA = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("other_record_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("distance", pa.int8()),
    ]
)
"""pairs.parquet. `kind`: same_bytes, same_pixels, same_hash or near. Copies are paired with the first of them, and near hashes by the
first picture of each, so that pairs grow with the pictures and not with their square. `distance` is in pHash bits."""

GROUP_SCHEMA = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in ("record_id", "kept_record_id", "kind", "label", "source", "license")]
    + [pa.field(name, pa.int16()) for name in ("distance", "diameter")]
    + [pa.field(name, pa.int32()) for name in ("width", "height")]
)
"""groups.parquet: one row for each picture in a group of two or more, kept ones included; sorted by (kept_record_id, record_id)."""

_AHEAD = 64
"""Pictures that wait for a free core: as much as is in memory at once."""


@dataclass(frozen=True)
class _Hashed:
    picture: Picture
    sha256: str = ""
    pixel_sha256: str = ""
    phash: int | None = None
    entropy_bits: float = 8.0
    width: int = 0
    height: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Inspection:
    """`pairs` (PAIR_SCHEMA), `groups` (GROUP_SCHEMA), the pictures by record id, and `counts`: read, hashed, dropped, notes."""

    pairs: pa.Table
    groups: pa.Table
    pictures: dict[str, Picture]
    counts: Counts


def inspect_pictures(pictures: Iterable[Picture], settings: DuplicateSettings, num_threads: int, full_decode: bool = False) -> Inspection:
    """Hash all pictures and group them by `settings`; the result does not depend on the number of threads.
    `full_decode` is that of DownloadSettings.

    Kept of a group is the picture with most pixels, then a redistributable licence, then a label, then the smaller id.
    """
    hashed = list(_hash_all(pictures, num_threads, DownloadSettings(min_side_px=1, store="original", full_decode=full_decode)))
    dropped = Counter(one.reason for one in hashed if one.reason)
    usable = sorted((one for one in hashed if not one.reason), key=lambda one: one.picture.record_id)
    repeated = [one for one, before in zip(usable[1:], usable, strict=False) if one.picture.record_id == before.picture.record_id]
    dropped["id_repeated"] += len(repeated)
    usable = [one for index, one in enumerate(usable) if not index or one.picture.record_id != usable[index - 1].picture.record_id]
    facts = _facts(usable, settings)
    likeness = find_likeness(facts, settings.radius, crowd_size=settings.crowd_size)
    groups = group_alike(facts, likeness, settings.grouping)
    table = _groups_table(usable, groups)
    notes = {
        "groups": int((groups.kind == 0).sum()),
        "pictures_in_groups": len(groups.index),
        **{kind: int((groups.kind == place).sum()) for place, kind in enumerate(KINDS) if kind != KEPT},
        "groups_with_several_labels": _num_conflicts(table),
        "too_flat_for_phash": int((facts.is_flat & ~facts.is_missing).sum()),
        "without_phash": int(facts.is_missing.sum()),
        "comparisons_left_out": likeness.counts["comparisons_left_out"],
    }
    counts = Counts(len(hashed), len(usable), {name: number for name, number in dropped.items() if number}, notes)
    return Inspection(_pairs_table(usable, facts, likeness), table, {one.picture.record_id: one.picture for one in usable}, counts)


def _hash_all(pictures: Iterable[Picture], num_threads: int, settings: DownloadSettings) -> Iterator[_Hashed]:
    waiting: deque[Future[_Hashed]] = deque()
    with warnings.catch_warnings(), ThreadPoolExecutor(num_threads) as pool:
        warnings.filterwarnings("ignore", module=r"PIL\.")  # what they warn of is judged by name
        for picture in pictures:
            waiting.append(pool.submit(_hash, picture, settings))
            if len(waiting) >= _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _hash(picture: Picture, settings: DownloadSettings) -> _Hashed:
    kept = replace(picture, data=None)
    if picture.read is None:
        return _stated(kept)
    try:
        data = picture.data if picture.data is not None else picture.read()
    except OSError as error:
        return _Hashed(kept, reason="file_missing" if isinstance(error, FileNotFoundError) else "file_unreadable")
    checked = check_image(data, settings)
    if isinstance(checked, RefusedImage):
        return _Hashed(kept, sha256=digest_bytes(data), reason=checked.reason)
    hashes, size = checked.hashes, (checked.original_width, checked.original_height)
    return _Hashed(kept, checked.original_sha256, hashes.pixel_sha256, hashes.phash, hashes.entropy_bits, *size)


def _stated(picture: Picture) -> _Hashed:
    phash = picture.stated.get("phash")
    try:
        value = None if phash is None else int(phash, 16) if isinstance(phash, str) else int(phash)
    except ValueError:
        return _Hashed(picture, reason="phash_malformed")
    if value is None and not picture.stated:
        return _Hashed(picture, reason="nothing_to_compare")
    return _Hashed(picture, str(picture.stated.get("sha256") or ""), str(picture.stated.get("pixel_sha256") or ""), value)


def _facts(hashed: list[_Hashed], settings: DuplicateSettings) -> ImageFacts:
    def text(name: str) -> Any:
        return np.array([getattr(one, name) for one in hashed], dtype=object)

    missing = np.array([one.phash is None for one in hashed], bool)
    phash = np.array([one.phash or 0 for one in hashed], np.uint64)
    entropy = np.array([one.entropy_bits for one in hashed])
    order = sorted(range(len(hashed)), key=lambda index: _standing(hashed[index]))
    precedence = np.empty(len(hashed), np.int64)
    precedence[order] = np.arange(len(order))
    return ImageFacts(
        record_id=np.array([one.picture.record_id for one in hashed], dtype=object),
        sha256=text("sha256"),
        pixel_sha256=text("pixel_sha256"),
        phash=phash,
        is_flat=missing | (entropy < settings.min_entropy_bits) | (np.bitwise_count(phash) <= 1),
        precedence=precedence,
        missing=missing,
    )


def _standing(one: _Hashed) -> tuple[int, bool, bool, str]:
    return -one.width * one.height, not is_allowed(one.picture.license, ("open",)), not one.picture.label, one.picture.record_id


def _pairs_table(hashed: list[_Hashed], facts: ImageFacts, likeness: Likeness) -> pa.Table:
    firsts, seconds, kinds = [], [], []
    seen: set[tuple[int, int]] = set()
    for kind, codes in (("same_bytes", likeness.sha), ("same_pixels", likeness.pixels), ("same_hash", likeness.look)):
        for first, second in zip(*_to_first(codes), strict=True):
            if (first, second) not in seen:
                seen.add((first, second))
                firsts.append(first)
                seconds.append(second)
                kinds.append(kind)
    heads = _heads(likeness.look)
    ends = np.sort(np.stack([heads[likeness.first], heads[likeness.second]]), axis=0) if len(likeness.first) else np.empty((2, 0), np.int64)
    firsts += ends[0].tolist()
    seconds += ends[1].tolist()
    kinds += ["near"] * ends.shape[1]
    has_hash = ~facts.is_missing
    bits = np.bitwise_count(facts.phash[firsts] ^ facts.phash[seconds]) if firsts else np.empty(0, np.uint8)
    both = has_hash[firsts] & has_hash[seconds] if firsts else np.empty(0, bool)
    columns = {
        "record_id": [hashed[index].picture.record_id for index in firsts],
        "other_record_id": [hashed[index].picture.record_id for index in seconds],
        "kind": kinds,
        "distance": [int(bit) if known else None for bit, known in zip(bits, both, strict=True)],
    }
    return pa.table(columns, schema=PAIR_SCHEMA).sort_by([("record_id", "ascending"), ("other_record_id", "ascending")])


def _to_first(codes: IndexArray) -> tuple[list[int], list[int]]:
    """Each later member of a class beside its first."""
    heads, has = _heads(codes), np.flatnonzero(codes >= 0)
    later = has[heads[codes[has]] != has] if len(has) else has
    return heads[codes[later]].tolist() if len(later) else [], later.tolist()


def _heads(codes: IndexArray) -> IndexArray:
    heads = np.full(codes.max(initial=-1) + 1, len(codes), np.int64)
    has = np.flatnonzero(codes >= 0)
    np.minimum.at(heads, codes[has], has)
    return heads


def _groups_table(hashed: list[_Hashed], groups: Groups) -> pa.Table:
    members = zip(groups.index, groups.kept, groups.kind, groups.distance, groups.diameter, strict=True)
    rows = [
        {
            "record_id": (one := hashed[index]).picture.record_id,
            "kept_record_id": hashed[kept].picture.record_id,
            "kind": KINDS[kind],
            "label": one.picture.label,
            "source": one.picture.source,
            "license": one.picture.license,
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
