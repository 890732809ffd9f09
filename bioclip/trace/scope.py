"""Where a trace looks: a release, a workspace, or both; and how rows are looked up there."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from bioclip import layout
from bioclip.parquet import read_matching_rows
from bioclip.partitions import OutputFile, StageManifest, read_stage
from bioclip.records import partition_of
from bioclip.releases.aliases import latest_release
from bioclip.releases.locating import open_release, workspace_around
from bioclip.releases.manifest import Release, list_releases, open_release_folder
from bioclip.settings import IngestSettings
from bioclip.storage import Storage
from bioclip.withdrawals import Withdrawals, read_withdrawal_list, read_withdrawals


@dataclass(frozen=True)
class Scope:
    """What a trace reads. Without a workspace the stages before the release are unavailable, without a release the later steps."""

    release: Release | None
    workspace: Storage | None
    withdrawals: Withdrawals = field(default_factory=Withdrawals)

    @cached_property
    def other_releases(self) -> tuple[Release, ...]:
        """The workspace's other complete releases, by version."""
        if self.workspace is None:
            return ()
        shown = self.release.version if self.release else ""
        return tuple(open_release(self.workspace, version) for version in list_releases(self.workspace) if version != shown)

    def stage(self, name: str) -> StageManifest | None:
        """Manifest of a stage of the workspace, or None where there is none."""
        if self.workspace is None or not self.workspace.exists(layout.stage_manifest(name)):
            return None
        return read_stage(self.workspace, name)

    def staleness(self, stage: str) -> str:
        """A remark where the workspace's tables of `stage` are not those that the release was made from; else empty."""
        found = self.stage(stage)
        if self.release is None or found is None:
            return ""
        made_from = self.release.manifest.get("inputs", {}).get(stage, "")
        return "" if made_from == found.digest else f"the workspace's stage {stage} has changed since release {self.release.version}"

    def without(self, what: str) -> str:
        """A remark that `what`, which only a workspace has, is unavailable."""
        if self.workspace is None:
            return f"unavailable here: {what}; the workspace that made the release has it"
        return f"{self.workspace.root!r} does not have {what}"


def open_scope(workspace: Storage, release: str) -> Scope:
    """A scope by release: a version, `latest`, or a release's own folder, then with the workspace that contains it, if one does.

    `latest` in a workspace without releases gives the workspace alone. Raises StorageError for a version or folder that is not a release.
    """
    folder = Path(release).expanduser()
    if folder.is_dir():
        return open_scope_at(Storage(str(folder.absolute())))
    if release == "latest":
        if workspace.exists(layout.alias_file("latest")):
            return Scope(open_release(workspace, latest_release(workspace)), workspace)
        return Scope(open_release(workspace, found[0]) if len(found := list_releases(workspace)) == 1 else None, workspace)
    return Scope(open_release(workspace, release), workspace)


def with_withdrawals(scope: Scope, settings: IngestSettings) -> Scope:
    """The scope with its withdrawal lists; raises SettingsError for a list that cannot be read."""
    listed = read_withdrawals(scope.workspace, settings) if scope.workspace else read_withdrawal_list(settings.takedown)
    return replace(scope, withdrawals=listed)


def open_scope_at(folder: Storage) -> Scope:
    """The release in `folder`, on any file system, and the workspace that contains it, if one does."""
    release, around = open_release_folder(folder), workspace_around(folder)
    return Scope(release, around if around and around.list(layout.STAGES_DIR) else None)


def find_rows(storage: Storage, name: str, column: str, values: Collection[str], columns: list[str] | None = None) -> list[dict[str, Any]]:
    """Rows of a Parquet file whose `column` has one of `values`; row groups that cannot hold them are not read. A missing file has none."""
    if not storage.exists(name):
        return []
    rows: list[dict[str, Any]] = read_matching_rows(storage, name, column, values, columns).to_pylist()
    return rows


def parts_of(outputs: Iterable[OutputFile], record_id: str) -> list[str]:
    """Names of those Parquet files among a stage's outputs that can hold a record: the ones of its partition."""
    parts: dict[int, list[str]] = {}
    for output in outputs:
        if (index := layout.part_number(output.name)) is not None:
            parts.setdefault(index, []).append(output.name)
    return parts.get(partition_of(record_id, len(parts)), []) if parts else []
