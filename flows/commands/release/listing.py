"""`treeoflife release list`, `show` and `shards`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from flows.commands.answers import Answer
from flows.commands.parameters import SETTINGS, Release, SettingsOptions

if TYPE_CHECKING:
    from bioclip.releases.listing import ReleaseFacts

_NUMERIC_COLUMNS = range(2, 6)


def list_releases(*, options: SettingsOptions = SETTINGS) -> Answer:
    """List the releases of a workspace, each after its parent.

    Example: `treeoflife release list --workspace s3://bucket/workspace`

    JSON keys: releases, dangling_aliases.
    """
    from bioclip.releases.aliases import dangling_aliases
    from bioclip.releases.listing import list_facts
    from bioclip.storage import open_workspace

    storage = open_workspace(options.load().workspace)
    releases, dangling = list_facts(storage), dangling_aliases(storage)
    text = [*(_table(releases) if releases else ()), f"{len(releases):,} releases" if releases else "no release; run `treeoflife curate`"]
    return Answer({"releases": releases, "dangling_aliases": dangling}, [*text, *describe_dangling(dangling)])


def show_release(release: Release = "latest", *, options: SettingsOptions = SETTINGS) -> Answer:
    """Show one release: its parent, splits, files and sizes.

    Example: `treeoflife release show latest --workspace demo`

    JSON keys: version, digest, uri, name, parent, num_samples, num_shards, num_bytes, num_own_bytes, splits, files.
    """
    from bioclip.releases.listing import facts_of
    from bioclip.releases.locating import locate_release
    from bioclip.releases.manifest import open_release_folder

    opened = open_release_folder(locate_release(options.load().workspace, release))
    facts = facts_of(opened)
    splits = {name: {"num_samples": opened.num_samples(name), "num_shards": len(opened.shards(name))} for name in opened.manifest["splits"]}
    files = {name: {"sha256": sha256, "num_bytes": num_bytes} for name, (sha256, num_bytes) in opened.files().items()}
    data = {
        "version": opened.version, "digest": opened.digest, "uri": opened.storage.root, "name": facts.name, "parent": facts.parent,
        "num_samples": facts.num_samples, "num_shards": facts.num_shards, "num_bytes": facts.num_bytes,
        "num_own_bytes": facts.num_own_bytes, "splits": splits, "files": files,
    }  # fmt: skip
    text = [
        f"release   {opened.version}",
        f"name      {facts.name}",
        f"manifest  sha256:{opened.digest}",
        f"parent    {facts.parent or 'none (new split assignment)'}",
        f"files     {len(files):,}, {facts.num_bytes:,} bytes, of which {facts.num_own_bytes:,} written by this release",
        *(f"{name:<9} {split['num_samples']:,} samples, {split['num_shards']:,} shards" for name, split in splits.items()),
        f"address   {opened.storage.root}",
    ]
    return Answer(data, text)


def list_shards(
    release: Release = "latest",
    *,
    split: Annotated[Literal["train", "val", "heldout"], Parameter(help="split of the release")] = "train",
    options: SettingsOptions = SETTINGS,
) -> Answer:
    """Print the address of every shard of a split, one per line, for a loader.

    Shards that the release wrote come first, then those of its parents.

    Example: `treeoflife release shards latest --split train --workspace demo`

    JSON keys: version, split, shards.
    """
    from bioclip.releases.locating import locate_release
    from bioclip.releases.manifest import open_release_folder

    opened = open_release_folder(locate_release(options.load().workspace, release))
    ordered = sorted(opened.shards(split), key=lambda name: (name.startswith("../"), name))
    shards = [opened.storage.uri(name) for name in ordered]
    return Answer({"version": opened.version, "split": split, "shards": shards}, shards)


def describe_dangling(aliases: dict[str, str]) -> list[str]:
    """A line for each alias whose release is missing."""
    return [
        f"alias {alias} points to {version}, which is missing: move it with `treeoflife release promote RELEASE --alias {alias}`"
        f", or remove it with `treeoflife release promote --alias {alias} --remove`"
        for alias, version in aliases.items()
    ]


def _table(releases: Sequence[ReleaseFacts]) -> list[str]:
    rows = [("version", "name", "samples", "shards", "bytes", "own bytes", "parent", "aliases")]
    for one in releases:
        samples, shards, total, own = (f"{number:,}" for number in (one.num_samples, one.num_shards, one.num_bytes, one.num_own_bytes))
        rows.append((one.version, one.name, samples, shards, total, own, one.parent or "-", " ".join(one.aliases) or "-"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if at in _NUMERIC_COLUMNS else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
