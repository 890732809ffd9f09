"""What a withdrawn id, URL or hash matches in a workspace: its records, the releases that contain them, and duplicates of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bioclip import layout
from bioclip.parquet import read_matching_rows
from bioclip.releases.locating import open_release
from bioclip.releases.manifest import list_releases
from bioclip.storage import Storage


@dataclass(frozen=True)
class WithdrawalMatch:
    """`releases` contain one of the records as a sample; `duplicates` are other images of the same photographs, which are kept."""

    record_ids: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()


def match_records(workspace: Storage, record_ids: Sequence[str]) -> WithdrawalMatch:
    """Look up `record_ids`, those that a value names, in all releases of a workspace and in its groups of duplicates."""
    if not record_ids:
        return WithdrawalMatch()
    releases = [
        version
        for version in list_releases(workspace)
        if any(_values(open_release(workspace, version).storage, layout.SAMPLES, "record_id", record_ids, "split"))
    ]
    groups = _values(workspace, layout.DUPLICATE_GROUPS, "record_id", record_ids, "group_id")
    members = _values(workspace, layout.DUPLICATE_GROUPS, "group_id", sorted(groups), "record_id") if groups else set()
    return WithdrawalMatch(tuple(record_ids), tuple(releases), tuple(sorted(members - set(record_ids))))


def _values(storage: Storage, name: str, column: str, values: Sequence[str], wanted: str) -> set[str]:
    """Distinct values of `wanted` in the rows whose `column` has one of `values`; none where the table does not exist."""
    return set(read_matching_rows(storage, name, column, values, [wanted])[wanted].to_pylist()) if storage.exists(name) else set()
