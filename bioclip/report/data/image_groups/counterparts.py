"""The counterpart of a dropped image: the evaluation image that it leaks, or the image whose label contradicts its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from bioclip import layout
from bioclip.duplicates.label_conflicts import LABEL_CONFLICT
from bioclip.parquet import read_matching_rows, read_rows
from bioclip.releases import Release
from bioclip.report.data.samples.sample_summary import Counterpart, DropGroup
from bioclip.storage import Storage

_LEAK_COLUMNS = ["record_id", "evaluation_set", "evaluation_record_id", "kind", "value", "detail"]
_CONFLICT_COLUMNS = ["group_id", "record_id", "distance", "rank", "accepted_name"]


def find_counterparts(storage: Storage, release: Release, drops: Collection[DropGroup], is_current: bool) -> dict[str, Counterpart]:
    """Record id of each shown image that leaks or has a conflicting label -> its counterpart, without its photo.

    Leaks are read from the release. Conflicts are read from the workspace, only when `is_current`, i.e. when they belong to the release.
    """
    leaking = {photo.record_id: drop.reason for drop in drops if drop.reason.startswith("leak_") for photo in drop.photos}
    found = _leaks(release, leaking) if leaking and release.storage.exists(layout.LEAKS) else {}
    conflicting = {photo.record_id for drop in drops if drop.reason == LABEL_CONFLICT for photo in drop.photos}
    if conflicting and is_current and storage.exists(layout.in_splits(layout.LABEL_CONFLICTS)):
        found |= _conflicts(storage, conflicting)
    return found


def _leaks(release: Release, leaking: Mapping[str, str]) -> dict[str, Counterpart]:
    found: dict[str, Counterpart] = {}
    for row in read_matching_rows(release.storage, layout.LEAKS, "record_id", leaking, _LEAK_COLUMNS).to_pylist():
        if row["kind"] == leaking[row["record_id"]]:
            found.setdefault(row["record_id"], Counterpart(row["evaluation_record_id"], _relation(row)))
    return found


def _relation(row: Mapping[str, Any]) -> str:
    value = "" if row["value"] is None else f" {row['value']:g}"
    return f"evaluated in {row['evaluation_set']}: {row['detail']}{value}"


def _conflicts(storage: Storage, conflicting: Collection[str]) -> dict[str, Counterpart]:
    """For each kept image the nearest member of its group with another name; only groups that are shown are kept in memory."""
    members: dict[str, list[dict[str, Any]]] = {identifier: [] for identifier in conflicting}
    for row in read_rows(storage, layout.in_splits(layout.LABEL_CONFLICTS), _CONFLICT_COLUMNS):
        if row["group_id"] in members:
            members[row["group_id"]].append(row)
    found = {}
    for identifier, rows in members.items():
        own = next((row["accepted_name"] for row in rows if row["record_id"] == identifier), "")
        others = sorted((row["distance"], row["record_id"], row) for row in rows if row["accepted_name"] not in {own, ""})
        if others:
            row = others[0][2]
            found[identifier] = Counterpart(row["record_id"], f"{row['rank']} {own or '(none)'} against {row['accepted_name']}")
    return found
