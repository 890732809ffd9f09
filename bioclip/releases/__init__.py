"""Releases: immutable dataset versions with samples, splits and shards."""

from bioclip.releases.aliases import latest_release, point_latest
from bioclip.releases.locating import open_release, resolve_release
from bioclip.releases.manifest import Release

__all__ = ["Release", "latest_release", "open_release", "point_latest", "resolve_release"]
