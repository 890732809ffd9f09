"""`treeoflife release export`."""

from __future__ import annotations

import shlex
from typing import Annotated

from cyclopts import Parameter

from flows.commands.answers import Answer
from flows.commands.parameters import SETTINGS, Release, SettingsOptions


def export_release(
    release: Release,
    destination: Annotated[str, Parameter(metavar="DESTINATION", help="folder or URL; the copy is DESTINATION/<version>")],
    *,
    flat: Annotated[
        bool, Parameter(negative="", help="write one folder that needs no other, DESTINATION itself, as a data hub wants it")
    ] = False,
    options: SettingsOptions = SETTINGS,
) -> Answer:
    """Copy a release, with the files that it shares with its parents, to another folder or URL.

    Files that are already there are compared and kept, so a second run completes an interrupted one. With `--flat` the shards of
    earlier releases are put beside the release's own, and `datasets.load_dataset(DESTINATION)` loads every split.

    Example: `treeoflife release export latest s3://bucket/releases --workspace demo`

    JSON keys: version, uri, num_files, num_bytes, num_copied, num_copied_bytes.
    """
    from bioclip.publishing.repository import export_repository
    from bioclip.releases.export import export_release as export
    from bioclip.releases.locating import locate_release
    from bioclip.releases.manifest import open_release_folder
    from bioclip.storage import open_storage

    workspace = options.load().workspace
    opened, target = open_release_folder(locate_release(workspace, release)), open_storage(destination, workspace.s3)
    target.check_writable()
    done = (export_repository if flat else export)(opened, target)
    numbers = ("num_files", "num_bytes", "num_copied", "num_copied_bytes")
    data = {"version": opened.version, "uri": done.folder.root, **{name: getattr(done, name) for name in numbers}}
    copied = f"{done.num_copied:,} files ({done.num_copied_bytes:,} bytes) copied by this run"
    text = [
        f"{done.folder.root}: {done.num_files:,} files, {done.num_bytes:,} bytes; {copied}",
        f"to check it: treeoflife release verify {shlex.quote(done.folder.root)} --deep",
    ]
    return Answer(data, text)
