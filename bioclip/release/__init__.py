"""Releases: immutable dataset versions with samples, splits and shards."""

from bioclip.release.reading import Release, latest_release, open_release, point_latest, resolve_release

__all__ = ["Release", "latest_release", "open_release", "point_latest", "resolve_release"]
