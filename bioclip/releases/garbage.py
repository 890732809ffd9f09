"""Files of a workspace that no release needs: from killed builds, discarded releases and incomplete writes.

A file is needed if a complete release or a current stage manifest lists it: a shard of a discarded release is kept as
long as another release uses it. Outside `releases/` only incomplete files and uploads are considered.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from bioclip import layout
from bioclip.errors import UsageError
from bioclip.releases.aliases import read_aliases
from bioclip.releases.locating import open_release
from bioclip.releases.manifest import KEPT_SHARDS, list_releases, workspace_name
from bioclip.storage import Storage

UNFINISHED, NOT_NAMED, DISCARDED, HALF_WRITTEN, UNFINISHED_UPLOAD = (
    "unfinished_release",
    "not_named",
    "discarded",
    "half_written",
    "unfinished_upload",
)


@dataclass(frozen=True)
class Garbage:
    """A file (or an upload, by its id) that is not needed, and its origin."""

    name: str
    num_bytes: int
    reason: str
    upload_id: str = ""


def find_garbage(storage: Storage, discarded: Collection[str] = ()) -> list[Garbage]:
    """All files that can be deleted, by name, including the releases to discard.

    Raises UsageError for a version to discard that does not exist, that has an alias, or that the workspace's stages built last; an alias
    may be given instead of a version.
    """
    aliases = read_aliases(storage)
    discarded = {aliases.get(name, name) for name in discarded}
    complete, (current, versions) = list_releases(storage), _named_by_stages(storage)
    _check_discarded(storage, discarded, complete, versions)
    kept = current | _bookkeeping(storage, versions)
    for version in (version for version in complete if version not in discarded):
        names = {layout.MANIFEST, layout.SEAL, *open_release(storage, version).files()}
        kept |= {workspace_name(version, name) for name in names} | _bookkeeping(storage, {version})
    found = list(_orphans(storage, kept, complete, discarded))
    found += [Garbage(name, num_bytes, HALF_WRITTEN) for name, num_bytes, is_running in storage.partials() if not is_running]
    found += [Garbage(name, 0, UNFINISHED_UPLOAD, upload_id) for name, upload_id in storage.unfinished_uploads()]
    return sorted(found, key=lambda one: (one.name, one.upload_id))


def delete_garbage(storage: Storage, garbage: Collection[Garbage]) -> None:
    """Delete the files, manifests first, so that a discarded release is no longer a release before any of its files is missing."""
    for one in sorted(garbage, key=lambda one: (not one.name.endswith(f"/{layout.MANIFEST}"), one.name)):
        if one.upload_id:
            storage.abort_upload(one.name, one.upload_id)
        else:
            storage.remove(one.name)
    storage.remove_empty_folders(layout.RELEASES_DIR)


def _orphans(storage: Storage, kept: set[str], complete: Collection[str], discarded: Collection[str]) -> Iterator[Garbage]:
    for name in storage.list(layout.RELEASES_DIR):
        if name.count("/") == 1 or name in kept:  # the former are aliases
            continue
        version = name.split("/")[1]
        reason = DISCARDED if version in discarded else NOT_NAMED if version in complete else UNFINISHED
        yield Garbage(name, storage.num_bytes(name), reason)


def _named_by_stages(storage: Storage) -> tuple[set[str], set[str]]:
    """Current outputs of the workspace's stages, and the versions of releases that they wrote (without releases of kept shards)."""
    outputs, versions = set(), set()
    for name in storage.list("stages"):
        for partition in json.loads(storage.read_bytes(name))["partitions"]:
            names = {output["name"] for output in partition["outputs"]}
            outputs |= names
            if partition["name"] != KEPT_SHARDS:
                versions |= {name.split("/")[1] for name in names if name.startswith(f"{layout.RELEASES_DIR}/")}
    return outputs, versions


def _bookkeeping(storage: Storage, versions: Collection[str]) -> set[str]:
    """Manifests of the partitions that wrote these releases, so that a rerun does nothing."""
    return {name for version in versions for name in storage.list(layout.release_partitions_dir(version))}


def _check_discarded(storage: Storage, discarded: Collection[str], complete: Collection[str], current: Collection[str]) -> None:
    aliases = read_aliases(storage)
    for version in sorted(discarded):
        if version not in complete:
            raise UsageError(f"release {version!r} is not in {storage.root!r}; available: {', '.join([*complete, *aliases]) or 'none'}.")
        if names := [alias for alias, named in aliases.items() if named == version]:
            raise UsageError(
                f"release {version!r} has the alias {names[0]!r}, so it is kept: `treeoflife release promote` another release to "
                f"{names[0]!r}, or remove the alias with `treeoflife release promote --alias {names[0]} --remove`."
            )
        if version in current:
            raise UsageError(f"release {version!r} is the last one that the workspace's stages built; build another before you discard it.")
