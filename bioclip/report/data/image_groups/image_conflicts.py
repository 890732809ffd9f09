"""Images under several names: groups of records with the same image and different names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.parquet import read_batches
from bioclip.partitions import StageManifest
from bioclip.records import RANKS
from bioclip.releases import Release
from bioclip.report.data.samples.photos import PHOTO_COLUMNS, add_pages, photo_of
from bioclip.report.data.samples.sample_summary import Photo
from bioclip.report.data.samples.source_pages import read_source_pages
from bioclip.report.data.samples.thumbnails import load_thumbnails
from bioclip.storage import Storage

MAX_SHOWN = 40
MAX_MEMBERS = 6
_GROUP_COLUMNS = ["record_id", "group_id", "kind", "distance"]


@dataclass(frozen=True)
class NamedImage:
    """One record's image with its verbatim name and accepted lineage; `kind` as in DUPLICATE_SCHEMA."""

    photo: Photo
    kind: str
    distance: int
    verbatim_name: str
    lineage: tuple[str, ...]


@dataclass(frozen=True)
class ImageNames:
    """The records of one image. `rank` is the highest rank at which accepted names differ, empty when they agree; `decision` states
    whether the image was kept."""

    group_id: str
    rank: str
    decision: str
    size: int
    num_sources: int
    members: tuple[NamedImage, ...]


@dataclass(frozen=True)
class ImageConflicts:
    """All images with several names: accepted names differ (`differing`) or agree (`agreeing`)."""

    num_differing: int
    num_differing_between_sources: int
    num_differing_near: int
    """Groups in which a member is a near duplicate only, so that it may be another photograph."""
    num_agreeing: int
    num_agreeing_between_sources: int
    differing: tuple[ImageNames, ...]
    agreeing: tuple[ImageNames, ...]


def gather_conflicts(
    storage: Storage, release: Release, images: StageManifest | None, records: StageManifest | None
) -> ImageConflicts | None:
    """Groups of identical or nearly identical images with several names; None when the workspace lacks the tables.

    Order: groups with several sources, then by the rank of the difference, then by size. Only rows of images in a group are kept in
    memory.
    """
    if not (storage.exists(layout.in_splits(layout.LABEL_CONFLICTS)) and storage.exists(layout.DUPLICATE_GROUPS)):
        return None
    places = _table(storage, layout.DUPLICATE_GROUPS, _GROUP_COLUMNS)
    groups, near = _groups(places, release), _near(places)
    conflicts = {
        row["group_id"]: (row["rank"], row["decision"])
        for row in _table(storage, layout.in_splits(layout.LABEL_CONFLICTS), _CONFLICT_COLUMNS).to_pylist()
    }
    differing, agreeing = [], []
    for row in groups.to_pylist():
        group = row["group_id"], row["record_id_count"], row["source_count_distinct"]
        if row["group_id"] in conflicts:
            differing.append((*group, *conflicts[row["group_id"]]))
        elif row["verbatim_name_count_distinct"] > 1:
            agreeing.append((*group, "", ""))
    shown = [sorted(found, key=_precedence)[:MAX_SHOWN] for found in (differing, agreeing)]
    members = _members(places, release, [group[0] for found in shown for group in found])
    members = _illustrated(members, storage, images, records)
    differing_shown, agreeing_shown = (tuple(_names(group, members[group[0]]) for group in found) for found in shown)
    return ImageConflicts(
        num_differing=len(differing),
        num_differing_between_sources=sum(group[2] > 1 for group in differing),
        num_differing_near=sum(group[0] in near for group in differing),
        num_agreeing=len(agreeing),
        num_agreeing_between_sources=sum(group[2] > 1 for group in agreeing),
        differing=differing_shown,
        agreeing=agreeing_shown,
    )


_CONFLICT_COLUMNS = ["group_id", "rank", "decision"]
_Group = tuple[str, int, int, str, str]


def _near(places: pa.Table) -> set[str]:
    return set(places.filter(pc.equal(places["kind"], "duplicate_near"))["group_id"].to_pylist())


def _groups(places: pa.Table, release: Release) -> pa.Table:
    """group_id -> number of images, sources and verbatim names."""
    groups = places.select(["record_id", "group_id"])
    wanted = groups["record_id"].combine_chunks()
    samples = _samples(release, ["record_id", "source", "verbatim_name"], wanted)
    aggregates: list[tuple[str, str]] = [("record_id", "count"), ("source", "count_distinct"), ("verbatim_name", "count_distinct")]
    return groups.join(samples, "record_id", join_type="inner").group_by("group_id").aggregate(aggregates)


def _members(places: pa.Table, release: Release, group_ids: list[str]) -> dict[str, list[NamedImage]]:
    chosen = places.filter(pc.is_in(places["group_id"], value_set=pa.array(group_ids, pa.string()))).to_pylist()
    rows = {
        row["record_id"]: row
        for row in _samples(release, PHOTO_COLUMNS, pa.array([r["record_id"] for r in chosen], pa.string())).to_pylist()
    }
    found: dict[str, list[NamedImage]] = {group_id: [] for group_id in group_ids}
    for place in sorted(chosen, key=lambda row: (row["kind"] != "kept", row["distance"], row["record_id"])):
        if place["record_id"] in rows:
            found[place["group_id"]].append(_named(place, rows[place["record_id"]]))
    return found


def _illustrated(
    groups: dict[str, list[NamedImage]], storage: Storage, images: StageManifest | None, records: StageManifest | None
) -> dict[str, list[NamedImage]]:
    """The members with thumbnails and the pages of their providers, where the workspace has them."""
    shown = {member.photo.record_id: member.photo for members in groups.values() for member in members[:MAX_MEMBERS]}
    thumbnails = load_thumbnails(storage, images, shown) if images else {}
    photos = add_pages(shown, read_source_pages(storage, records, shown))
    photos = {key: replace(photo, thumbnail=thumbnails.get(key)) for key, photo in photos.items()}
    return {group_id: [replace(m, photo=photos.get(m.photo.record_id, m.photo)) for m in members] for group_id, members in groups.items()}


def _named(place: Mapping[str, Any], row: dict[str, Any]) -> NamedImage:
    lineage = tuple(row[rank] or "" for rank in RANKS)
    return NamedImage(photo_of(row), place["kind"], place["distance"], row["verbatim_name"] or "", lineage)


def _names(group: _Group, members: list[NamedImage]) -> ImageNames:
    group_id, size, num_sources, rank, decision = group
    return ImageNames(group_id, rank, decision, size, num_sources, tuple(_telling(members)[:MAX_MEMBERS]))


def _telling(members: list[NamedImage]) -> list[NamedImage]:
    """The kept image first, then one member of each source and name, then the others."""
    seen: set[tuple[str, str]] = set()
    order = []
    for place, member in enumerate(members):
        key = member.photo.source, member.verbatim_name
        order.append((key in seen, place))
        seen.add(key)
    return [members[place] for _, place in sorted(order)]


def _precedence(group: _Group) -> tuple[bool, int, int, str]:
    group_id, size, num_sources, rank, _ = group
    return num_sources < 2, RANKS.index(rank) if rank in RANKS else len(RANKS), -size, group_id


def _table(storage: Storage, name: str, columns: list[str]) -> pa.Table:
    with storage.reader(name) as stream:
        return pq.read_table(stream, columns=columns)


def _samples(release: Release, columns: list[str], record_ids: pa.Array) -> pa.Table:
    """Rows of `record_ids`, ordered by record id. Both tables are sorted, so each batch is compared with its own range of ids only."""
    ordered, start, parts = record_ids.take(pc.array_sort_indices(record_ids)), 0, []
    for rows in read_batches(release.storage, layout.SAMPLES, columns):
        last = rows["record_id"][rows.num_rows - 1] if rows.num_rows else None
        stop = start if last is None else start + (pc.sum(pc.less_equal(ordered.slice(start), last)).as_py() or 0)
        parts.append(rows.filter(pc.is_in(rows["record_id"], value_set=ordered.slice(start, stop - start))))
        start = stop
    return pa.concat_tables(parts)
