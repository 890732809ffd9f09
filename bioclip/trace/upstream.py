"""Steps before the release: the provider's row, its licence, the download, the image, its duplicates and its name."""

from __future__ import annotations

import json
from typing import Any

from bioclip import layout
from bioclip.licenses import license_url, needs_attribution
from bioclip.records import RANKS
from bioclip.sources.snapshots import read_snapshot
from bioclip.trace.known_rows import KnownRows, Row, TraceStep, step
from bioclip.trace.scope import Scope, find_rows

_RECORD_FACTS = (
    "source_id", "occurrence_id", "media_url", "verbatim_name", "basis_of_record", "event_date", "latitude", "longitude",
)  # fmt: skip
_NOT_OF_THE_PROVIDER = {"record_id", "lineage_id", "license", "verbatim"}


def record_step(scope: Scope, known: KnownRows) -> TraceStep:
    """The provider's row, verbatim, and its snapshot."""
    if known.record is None or scope.workspace is None:
        sample = known.sample or {}
        snapshot = scope.release.manifest.get("snapshots", {}).get(sample.get("source", ""), {}) if scope.release else {}
        facts = {
            "source": sample.get("source"),
            "snapshot": snapshot.get("snapshot"),
            "snapshot_files": snapshot.get("digests"),
            **{name: sample.get(name) for name in _RECORD_FACTS},
        }
        return step("record", facts, scope.without("the full provider row"))
    source, snapshot_id = layout.snapshot_of(known.record_file)
    snapshot = read_snapshot(scope.workspace, source, snapshot_id)
    name = layout.snapshot_file(source, snapshot_id)
    details = json.loads(scope.workspace.read_bytes(name)) if scope.workspace.exists(name) else {}
    facts = {
        "source": source,
        "snapshot": snapshot_id,
        "snapshot_date": snapshot.date,
        "snapshot_etag": snapshot.etag,
        "snapshot_files": details.get("digests"),
        **{name.rstrip("_"): value for name, value in known.record.items() if name not in _NOT_OF_THE_PROVIDER},
        "further_columns": dict(known.record["verbatim"]),
    }
    gone = "" if known.is_current else f"the current snapshot of {source} lacks this record; shown is that of snapshot {snapshot_id}"
    return step("record", facts, gone, scope.staleness("records"))


def license_step(scope: Scope, known: KnownRows) -> TraceStep:
    """Licence, the address of its text, and who must be credited."""
    row = known.sample or known.record
    if row is None:
        return step("license", {}, scope.without("the licence"))
    identifier = row["license"] or ""
    facts = {
        "license": identifier or "not stated",
        "verbatim": row["license_verbatim"],
        "url": license_url(identifier, row["license_verbatim"] or ""),
        "rights_holder": row["rights_holder"],
        "creator": row["creator"],
        "needs_attribution": needs_attribution(identifier),
        "lacks_holder": needs_attribution(identifier) and not (row["rights_holder"] or row["creator"]),
    }
    return step("license", facts)


def download_step(scope: Scope, known: KnownRows) -> TraceStep:
    """The outcome of the download, from the ledger."""
    if known.outcome is None:
        address = (known.sample or known.record or {}).get("media_url")
        return step("download", {"media_url": address}, scope.without("the outcome of the download"))
    outcome = dict(known.outcome)
    fetched_at = outcome.pop("fetched_at")
    facts = {
        **{name: value for name, value in outcome.items() if name != "record_id"},
        "fetched_at": fetched_at.isoformat() if fetched_at else None,
        "final_url": known.image["final_url"] if known.image else None,
    }
    return step("download", facts)


def image_step(scope: Scope, known: KnownRows) -> TraceStep:
    """Hashes and sizes of the bytes as downloaded and as stored."""
    if known.image is not None:
        facts = {name: value for name, value in known.image.items() if name not in {"record_id", "final_url"}}
        return step("image", {**facts, "phash": f"{facts['phash']:016x}"}, scope.staleness("images"))
    sample = known.sample or {}
    facts = {name: sample.get(name) for name in ("sha256", "width", "height")}
    if scope.release and sample:
        for row in find_rows(scope.release.storage, layout.FINGERPRINTS, "record_id", [known.record_id]):
            facts |= {"original_sha256": row["sha256"], "pixel_sha256": row["pixel_sha256"], "phash": f"{row['phash']:016x}"}
    return step("image", facts, scope.without("the row in the table of images"))


def duplicates_step(scope: Scope, known: KnownRows) -> TraceStep:
    """The group of duplicates: the kept image, the other members, and whether their names agree."""
    sample = known.sample or {}
    if scope.workspace is None or not scope.workspace.exists(layout.DUPLICATE_GROUPS):
        facts: Row = {}
        if str(sample.get("drop_reason", "")).startswith("duplicate_"):
            facts = {"kind": sample["drop_reason"], "kept_record_id": sample["drop_detail"]}
        return step("duplicates", facts, scope.without("the groups of duplicates"))
    own = find_rows(scope.workspace, layout.DUPLICATE_GROUPS, "record_id", [known.record_id])
    if not own:
        why = "no other image is similar" if known.image else "there is no image to compare"
        return step("duplicates", {"group": f"none: {why}"}, scope.staleness("duplicates"))
    members = find_rows(scope.workspace, layout.DUPLICATE_GROUPS, "group_id", [own[0]["group_id"]])
    conflicts = find_rows(scope.workspace, layout.in_splits(layout.LABEL_CONFLICTS), "record_id", [known.record_id])
    facts = {
        **{name: own[0][name] for name in ("kind", "kept_record_id", "distance", "diameter")},
        "members": {row["record_id"]: _describe_member(row) for row in members if row["record_id"] != known.record_id},
        "label_conflict": {name: conflicts[0][name] for name in ("rank", "accepted_name", "decision")} if conflicts else None,
    }
    return step("duplicates", facts, scope.staleness("duplicates"))


def _describe_member(row: Row) -> str:
    return str(row["kind"]) if row["distance"] in {0, None} else f"{row['kind']}, {row['distance']} bits from the kept image"


def name_step(scope: Scope, known: KnownRows) -> TraceStep:
    """The decision on the name: verbatim, canonical, accepted, and why."""
    rows: list[dict[str, Any]] = []
    if scope.workspace and known.record:
        rows = find_rows(scope.workspace, layout.NAMES, "lineage_id", [known.record["lineage_id"]])
    if not rows:
        sample = known.sample or {}
        names = ("verbatim_name", "accepted_id", "resolved_rank", *RANKS, "common_name")
        facts = {name: sample.get(name) for name in names}
        return step("name", {**facts, **_backbones(scope)}, scope.without("the decision on the name"))
    row = rows[0]
    index_key = scope.release.manifest.get("backbones", {}).get(row["backbone"]) if scope.release else None
    return step("name", {**row, "backbone_key": index_key}, scope.staleness("taxonomy"))


def _backbones(scope: Scope) -> Row:
    return {"backbones": dict(scope.release.manifest.get("backbones", {}))} if scope.release else {}
