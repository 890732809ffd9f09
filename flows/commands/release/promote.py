"""`treeoflife release promote`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from flows.commands.answers import Answer
from flows.commands.parameters import SETTINGS, Release, SettingsOptions


def promote_release(
    release: Release = "",
    *,
    alias: Annotated[str, Parameter(metavar="NAME", help="lower-case word")] = "latest",
    remove: Annotated[bool, Parameter(help="remove the alias; the release is kept")] = False,
    options: SettingsOptions = SETTINGS,
) -> Answer:
    """Point an alias to a release; commands accept the alias instead of the version.

    Example: `treeoflife release promote 3c79638b3e25 --alias paper --workspace demo`

    JSON keys: alias, version, removed.
    """
    from bioclip.errors import UsageError

    if remove == bool(release):
        raise UsageError("promote takes either a RELEASE to point the alias to, or --remove to remove the alias.")
    if remove:
        return _remove(alias, options)
    from bioclip.releases.aliases import point_alias
    from bioclip.releases.locating import locate_release, workspace_around
    from bioclip.releases.manifest import open_release_folder

    folder = locate_release(options.load().workspace, release)
    storage, version = workspace_around(folder), open_release_folder(folder).version
    if storage is None:
        raise UsageError(f"{release!r} is outside a workspace, so it cannot have an alias; name a release in <workspace>/releases.")
    point_alias(storage, alias, version)
    return Answer({"alias": alias, "version": version, "removed": False}, [f"{alias} -> {version}"])


def _remove(alias: str, options: SettingsOptions) -> Answer:
    from bioclip.releases.aliases import remove_alias
    from bioclip.storage import open_workspace

    version = remove_alias(open_workspace(options.load().workspace), alias)
    return Answer({"alias": alias, "version": version, "removed": True}, [f"alias `{alias}` removed; release {version} kept"])
