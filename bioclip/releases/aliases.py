"""Aliases such as `latest` that point to a version of a release."""

from __future__ import annotations

import json
import re

from bioclip import layout
from bioclip.digests import readable_json
from bioclip.errors import StorageError, UsageError
from bioclip.releases.manifest import SPLITS, list_releases
from bioclip.storage import Storage

LATEST = "latest"


_ALIAS = re.compile(r"(?![0-9a-f]{12}$)[a-z][a-z0-9_-]{1,63}")


def latest_release(storage: Storage) -> str:
    """Version of the alias `latest`; raises StorageError if there is no release."""
    version = read_aliases(storage).get(LATEST)
    if version is None:
        raise StorageError(f"{storage.root!r} holds no release; run `treeoflife curate` first.")
    return version


def read_aliases(storage: Storage) -> dict[str, str]:
    """Version by alias, sorted; raises StorageError for an invalid alias file."""
    found = {}
    for name in storage.list(layout.RELEASES_DIR):
        if (alias := layout.alias_of(name)) is not None:
            try:
                found[alias] = str(json.loads(storage.read_bytes(name))["version"])
            except (ValueError, KeyError, TypeError):
                raise StorageError(
                    f"{storage.uri(name)!r} is not an alias file; remove it, or `treeoflife release promote` a version by its name."
                ) from None
    return found


def point_alias(storage: Storage, alias: str, version: str) -> None:
    """Point `alias` to `version` atomically; the file is not rewritten if it already does.

    Raises UsageError for an alias that is not a lower-case word of at least two letters, or that is the name of a split or a version.
    """
    if alias in SPLITS:
        raise UsageError(f"alias {alias!r} is refused: it is the name of a split; use a word such as `latest` or `stable`.")
    if not _ALIAS.fullmatch(alias) or storage.exists(layout.release_manifest(alias)):
        raise UsageError(f"alias {alias!r} is refused: use a lower-case word such as `latest` or `stable` that is not a version.")
    name, data = layout.alias_file(alias), readable_json({"version": version})
    if not (storage.exists(name) and storage.read_bytes(name) == data):
        storage.write_bytes(name, data)


def remove_alias(storage: Storage, alias: str) -> str:
    """Remove an alias, never a release; returns its version. Raises UsageError if there is no such alias."""
    aliases = read_aliases(storage)
    if alias not in aliases:
        raise UsageError(f"alias {alias!r} is not in {storage.root!r}; available: {', '.join(aliases) or 'none'}.")
    storage.remove(layout.alias_file(alias))
    return aliases[alias]


def dangling_aliases(storage: Storage) -> dict[str, str]:
    """Version by alias, for aliases whose version is missing."""
    versions = set(list_releases(storage))
    return {alias: version for alias, version in read_aliases(storage).items() if version not in versions}


def point_latest(storage: Storage, version: str) -> None:
    """Point the alias `latest` to `version`."""
    point_alias(storage, LATEST, version)
