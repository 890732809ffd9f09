"""`treeoflife release diff`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from flows.commands.answers import Answer
from flows.commands.parameters import SETTINGS, Release, SettingsOptions


def diff_releases(older: Release, newer: Release, *, options: SettingsOptions = SETTINGS) -> Answer:
    """Count the samples that a release adds, removes, moves and relabels relative to another, with shards and bytes.

    Example: `treeoflife release diff 3c79638b3e25 latest --workspace demo`

    JSON keys: older, newer, num_common, added, removed, moved, relabelled, changed, shards_kept, shards_rewritten, shards_added,
    shards_gone, num_bytes, num_new_bytes.
    """
    from bioclip.releases.diff import compare_releases
    from bioclip.releases.locating import locate_release
    from bioclip.releases.manifest import open_release_folder

    workspace = options.load().workspace
    one, two = (open_release_folder(locate_release(workspace, name)) for name in (older, newer))
    found = compare_releases(one, two)
    moved = {f"{before} -> {after}": number for (before, after), number in found.moved.items()}
    shards = (
        f"{found.shards_kept:,} kept, {found.shards_rewritten:,} rewritten, {found.shards_added:,} added, {found.shards_gone:,} removed"
    )
    share = 100 * found.num_new_bytes / max(1, found.num_bytes)
    text = [
        f"{one.version} -> {two.version}: {found.num_common:,} samples in both",
        _counts_line("added", found.added),
        _counts_line("removed", found.removed),
        _counts_line("moved", moved),
        f"relabelled {found.relabelled:,}, otherwise changed {found.changed:,}",
        f"shards: {shards}",
        f"bytes: {found.num_new_bytes:,} of {found.num_bytes:,} new ({share:.2f} %)",
    ]
    return Answer({"older": one.version, "newer": two.version, **asdict(found), "moved": moved}, text)


def _counts_line(title: str, counts: Mapping[str, int]) -> str:
    parts = ", ".join(f"{name} {number:,}" for name, number in counts.items())
    return f"{title} {sum(counts.values()):,}" + (f": {parts}" if parts else "")
