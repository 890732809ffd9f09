"""`treeoflife releases`, `diff`, `promote`, `export`, `gc`: which there are, how they differ, their names, copies, what nobody needs."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence

from bioclip.errors import UsageError
from bioclip.releases.aliases import dangling_aliases, point_alias, remove_alias
from bioclip.releases.diff import compare_releases
from bioclip.releases.export import export_release
from bioclip.releases.garbage import delete_garbage, find_garbage
from bioclip.releases.listing import list_facts
from bioclip.releases.locating import locate_release, workspace_around
from bioclip.releases.manifest import open_release_folder
from bioclip.settings import PipelineSettings
from bioclip.storage import Storage, open_storage, open_workspace

_SHOWN = 40


def show_releases(settings: PipelineSettings) -> int:
    """Print a row for each complete release, each after the one that it continues."""
    found = list_facts(open_workspace(settings.workspace))
    rows = [("version", "name", "samples", "shards", "bytes", "own bytes", "continues", "aliases")]
    for one in found:
        samples, shards, total, own = (f"{number:,}" for number in (one.num_samples, one.num_shards, one.num_bytes, one.num_own_bytes))
        rows.append((one.version, one.name, samples, shards, total, own, one.parent or "-", " ".join(one.aliases) or "-"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows if found else ():
        print(
            "  ".join(
                cell.rjust(width) if 2 <= at <= 5 else cell.ljust(width) for at, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
        )
    print(f"{len(found):,} releases" if found else "no release yet; `treeoflife curate` makes one")
    _print_dangling(open_workspace(settings.workspace))
    return 0


def show_shards(settings: PipelineSettings, name: str, split: str) -> int:
    """Print the address of every shard of a release's split, one a line: its own first, beside which its lists lie."""
    release = open_release_folder(locate_release(settings.workspace, name))
    for shard in sorted(release.shards(split), key=lambda name: (name.startswith("../"), name)):
        print(release.storage.uri(shard))
    return 0


def show_difference(settings: PipelineSettings, older: str, newer: str) -> int:
    """Print what `newer` has that `older` has not, and the other way round."""
    one, two = (open_release_folder(locate_release(settings.workspace, name)) for name in (older, newer))
    found = compare_releases(one, two)
    print(f"{one.version} -> {two.version}: {found.num_common:,} samples in both")
    _print_counts("added", found.added)
    _print_counts("removed", found.removed)
    _print_counts("moved", {f"{before} -> {after}": number for (before, after), number in found.moved.items()})
    print(f"relabelled {found.relabelled:,}, otherwise changed {found.changed:,}")
    shards = f"{found.shards_kept:,} kept, {found.shards_rewritten:,} rewritten, {found.shards_added:,} added, {found.shards_gone:,} gone"
    print(f"shards: {shards}")
    share = 100 * found.num_new_bytes / max(1, found.num_bytes)
    print(f"bytes: {found.num_new_bytes:,} of {found.num_bytes:,} new ({share:.2f} %)")
    return 0


def promote(settings: PipelineSettings, name: str, alias: str) -> int:
    """Make an alias name a release, in the workspace that it lies in."""
    folder = locate_release(settings.workspace, name)
    storage, version = workspace_around(folder), open_release_folder(folder).version
    if storage is None:
        raise UsageError(f"{name!r} lies in no workspace, so it can bear no alias; name one in <workspace>/releases.")
    point_alias(storage, alias, version)
    print(f"{alias} -> {version}")
    return 0


def take_alias_away(settings: PipelineSettings, alias: str) -> int:
    """Remove an alias; the release that it named stays."""
    version = remove_alias(open_workspace(settings.workspace), alias)
    print(f"{alias} no longer names {version}, which stays")
    return 0


def _print_dangling(storage: Storage) -> None:
    for alias, version in dangling_aliases(storage).items():
        ways = f"`treeoflife promote` another to it, or `treeoflife promote --alias {alias} --remove`"
        print(f"alias {alias} names {version}, which is missing: {ways}")


def export(settings: PipelineSettings, name: str, destination: str) -> int:
    """Copy a release to a folder or URL, and print what came of it and how to check it there."""
    release, target = open_release_folder(locate_release(settings.workspace, name)), open_storage(destination, settings.workspace.s3)
    target.check_writable()
    done = export_release(release, target)
    now = f"copied now {done.num_copied:,} files, {done.num_copied_bytes:,} bytes"
    print(f"{done.folder.root}: {done.num_files:,} files, {done.num_bytes:,} bytes; {now}")
    print(f"check it there: treeoflife verify {shlex.quote(done.folder.root)} --deep")
    return 0


def collect_garbage(settings: PipelineSettings, given_up: Sequence[str], delete: bool) -> int:
    """Print what nothing names, by reason, and delete it where that is asked for."""
    storage = open_workspace(settings.workspace)
    garbage = find_garbage(storage, given_up)
    by_reason: dict[str, list[int]] = defaultdict(list)
    for one in garbage:
        by_reason[one.reason].append(one.num_bytes)
    for one in garbage[:_SHOWN]:
        print(f"{one.reason}  {one.name}  {one.num_bytes:,} bytes")
    if len(garbage) > _SHOWN:
        print(f"... and {len(garbage) - _SHOWN:,} more")
    for reason, sizes in sorted(by_reason.items()):
        print(f"{reason}: {len(sizes):,} files, {sum(sizes):,} bytes")
    _print_dangling(storage)
    if delete:
        delete_garbage(storage, garbage)
    print(
        "nothing to delete" if not garbage else "deleted" if delete else "nothing was deleted; do it with --delete, while no run is at work"
    )
    return 0


def _print_counts(title: str, counts: Mapping[str, int]) -> None:
    parts = ", ".join(f"{name} {number:,}" for name, number in counts.items())
    print(f"{title} {sum(counts.values()):,}" + (f": {parts}" if parts else ""))
