"""What one release has that another has not: samples, labels, splits, shards, bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bioclip.records import RANKS
from bioclip.release.reading import Release, workspace_name

UNKNOWN = "not_in_release"
"""Why a sample is new or gone where the other release says nothing of its record: it came, or was withdrawn, before the images."""
_LABEL = (*RANKS, "resolved_rank", "common_name", "accepted_id")
_CONTENT = (
    "sha256", "width", "height", "source", "source_id", "occurrence_id", "media_url", "license", "rights_holder", "creator",
)  # fmt: skip


@dataclass(frozen=True)
class ReleaseDifference:
    """Counts of samples and shards. `added` is by why the older release lacked them, `removed` by why the newer one does.

    `moved` is by (split, split); `relabelled` and `changed` (bytes, licence, provenance) are of samples in both, and may overlap.
    `num_new_bytes` are of files that the older release does not name.
    """

    num_common: int
    added: Mapping[str, int]
    removed: Mapping[str, int]
    moved: Mapping[tuple[str, str], int]
    relabelled: int
    changed: int
    shards_kept: int
    shards_rewritten: int
    shards_added: int
    shards_gone: int
    num_bytes: int
    num_new_bytes: int


def compare_releases(older: Release, newer: Release) -> ReleaseDifference:
    """What became of the samples and shards of `older` in `newer`."""
    before, after = _rows(older), _rows(newer)
    common = [(before[key], row) for key, row in after.items() if row["split"] and key in before and before[key]["split"]]
    added = Counter(_why(before, key) for key, row in after.items() if row["split"] and not _is_sample(before, key))
    removed = Counter(_why(after, key) for key, row in before.items() if row["split"] and not _is_sample(after, key))
    moved = Counter((one["split"], two["split"]) for one, two in common if one["split"] != two["split"])
    kept, rewritten, new, gone = _shards(older, newer, common)
    before_files, after_files = _files(older), _files(newer)
    return ReleaseDifference(
        num_common=len(common),
        added=dict(sorted(added.items())),
        removed=dict(sorted(removed.items())),
        moved=dict(sorted(moved.items())),
        relabelled=sum(_differ(one, two, _LABEL) for one, two in common),
        changed=sum(_differ(one, two, _CONTENT) for one, two in common),
        shards_kept=kept,
        shards_rewritten=rewritten,
        shards_added=new,
        shards_gone=gone,
        num_bytes=sum(after_files.values()),
        num_new_bytes=sum(num_bytes for name, num_bytes in after_files.items() if name not in before_files),
    )


def _rows(release: Release) -> dict[str, dict[str, Any]]:
    rows = release.samples(["record_id", "split", "shard", "drop_reason", *_LABEL, *_CONTENT]).to_pylist()
    return {row["record_id"]: row for row in rows}


def _is_sample(rows: Mapping[str, Mapping[str, Any]], key: str) -> bool:
    return key in rows and bool(rows[key]["split"])


def _why(rows: Mapping[str, Mapping[str, Any]], key: str) -> str:
    return str(rows[key]["drop_reason"]) if key in rows else UNKNOWN


def _differ(one: Mapping[str, Any], two: Mapping[str, Any], columns: tuple[str, ...]) -> bool:
    return any(one[name] != two[name] for name in columns)


def _shards(older: Release, newer: Release, common: list[tuple[dict[str, Any], dict[str, Any]]]) -> tuple[int, int, int, int]:
    """Shards kept, rewritten (new ones that hold samples of a shard that is gone), added, and gone."""
    before, after = (
        {workspace_name(release.version, name) for split in release.manifest["splits"] for name in release.shards(split)}
        for release in (older, newer)
    )
    homes = {workspace_name(newer.version, two["shard"]) for one, two in common}
    rewritten = (after - before) & homes
    return len(after & before), len(rewritten), len(after - before - rewritten), len(before - after)


def _files(release: Release) -> dict[str, int]:
    """Bytes of every file, by name within the workspace."""
    return {workspace_name(release.version, name): num_bytes for name, (_, num_bytes) in release.files().items()}
