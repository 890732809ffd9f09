"""Facts of the releases of a workspace: total size, and the size of the files that each wrote."""

from __future__ import annotations

from dataclasses import dataclass

from bioclip.releases.aliases import read_aliases
from bioclip.releases.locating import open_release
from bioclip.releases.manifest import Release, list_releases
from bioclip.storage import Storage


@dataclass(frozen=True)
class ReleaseFacts:
    """`num_own_bytes` are of files that the release wrote itself; the other files belong to its ancestors."""

    version: str
    name: str
    num_samples: int
    num_shards: int
    num_bytes: int
    num_own_bytes: int
    parent: str
    aliases: tuple[str, ...]


def list_facts(storage: Storage) -> list[ReleaseFacts]:
    """Facts of all complete releases, each after its parent."""
    aliases = read_aliases(storage)
    releases = {version: open_release(storage, version) for version in list_releases(storage)}
    ordered = sorted(releases, key=lambda version: _lineage(version, releases))
    return [facts_of(releases[version], tuple(alias for alias, named in aliases.items() if named == version)) for version in ordered]


def facts_of(release: Release, aliases: tuple[str, ...] = ()) -> ReleaseFacts:
    """Facts of one release, from its manifest alone."""
    files = release.files()
    splits = release.manifest["splits"]
    return ReleaseFacts(
        release.version,
        str(release.manifest["name"]),
        sum(release.num_samples(split) for split in splits),
        sum(len(release.shards(split)) for split in splits),
        sum(num_bytes for _, num_bytes in files.values()),
        sum(num_bytes for name, (_, num_bytes) in files.items() if not name.startswith("../")),
        release.parent[0],
        aliases,
    )


def _lineage(version: str, releases: dict[str, Release]) -> list[str]:
    """Versions from the first of the line to this one."""
    line = [version]
    while (parent := releases[line[0]].parent[0]) in releases and parent not in line:
        line.insert(0, parent)
    return line
