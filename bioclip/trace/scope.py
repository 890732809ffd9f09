"""What is at hand to trace an image with: a release, a workspace, or both; and looking up rows in them."""

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
from bioclip.takedowns import Takedown, read_takedown, read_takedowns


@dataclass(frozen=True)
class Sight:
    """Where to look. Without a workspace the stages before the release are out of sight, without a release all that follows them."""

    release: Release | None
    workspace: Storage | None
    takedown: Takedown = field(default_factory=Takedown)

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
        """Says so where the workspace's tables of `stage` are not the ones that the release was made from; else empty."""
        found = self.stage(stage)
        if self.release is None or found is None:
            return ""
        made_from = self.release.manifest.get("inputs", {}).get(stage, "")
        return "" if made_from == found.digest else f"the workspace's stage {stage} has changed since release {self.release.version}"

    def without(self, what: str) -> str:
        """What to say where something of the workspace is out of sight."""
        if self.workspace is None:
            return f"not at hand: {what}; the workspace that made the release keeps it"
        return f"not in {self.workspace.root!r}: {what}"


def open_sight(workspace: Storage, release: str) -> Sight:
    """What to look at. `release` is a version, `latest`, or a folder of its own; of that folder the workspace around it, if it lies in one.

    Raises StorageError for a version or folder that is no release. `latest` of a workspace that holds none means the workspace alone.
    """
    folder = Path(release).expanduser()
    if folder.is_dir():
        return open_sight_at(Storage(str(folder.absolute())))
    if release == "latest":
        if workspace.exists(layout.alias_file("latest")):
            return Sight(open_release(workspace, latest_release(workspace)), workspace)
        return Sight(open_release(workspace, found[0]) if len(found := list_releases(workspace)) == 1 else None, workspace)
    return Sight(open_release(workspace, release), workspace)


def with_takedowns(sight: Sight, settings: IngestSettings) -> Sight:
    """The same, with the lists of what is to leave; raises SettingsError for a list that cannot be read."""
    return replace(sight, takedown=read_takedowns(sight.workspace, settings) if sight.workspace else read_takedown(settings.takedown))


def open_sight_at(folder: Storage) -> Sight:
    """What to look at: the release in that folder, on any file system, and the workspace around it, if it lies in one."""
    release, around = open_release_folder(folder), workspace_around(folder)
    return Sight(release, around if around and around.list(layout.STAGES_DIR) else None)


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
