"""Opening a release."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bioclip.digests import digest_bytes, readable_json
from bioclip.errors import StorageError, UsageError
from bioclip.settings import WorkspaceSettings
from bioclip.storage import Storage, open_storage, open_workspace

RELEASES_DIR = "releases"
MANIFEST_NAME = "manifest.json"
LATEST = "latest"
SEAL_NAME = "manifest.sha256"
"""SHA-256 of manifest.json, as `sha256sum --check` reads it."""
SPLITS = ("train", "val", "heldout")
"""`train`; `val`: held-out occurrences of known species; `heldout`: species that training never sees."""
_ALIAS_SUFFIX = ".json"
_ALIAS = re.compile(r"(?![0-9a-f]{12}$)[a-z][a-z0-9_-]{1,63}")


@dataclass(frozen=True)
class Release:
    """A dataset version. `digest` is the SHA-256 of its manifest, which names every file's digest."""

    version: str
    digest: str
    manifest: Mapping[str, Any]
    storage: Storage

    def shards(self, split: str) -> list[str]:
        """Names of the split's tars within `storage`, in order; those of an earlier release begin with `../<version>/`."""
        return [shard["name"] for shard in self.manifest["splits"][split]["shards"]]

    def files(self) -> dict[str, tuple[str, int]]:
        """Name -> (SHA-256, bytes) of every file that the manifest names."""
        return named_files(self.manifest)

    @property
    def parent(self) -> tuple[str, str]:
        """Version and manifest digest of the release that this one continues, or two empty strings."""
        parent = self.manifest.get("parent") or {}
        return str(parent.get("version", "")), str(parent.get("digest", ""))

    def num_samples(self, split: str) -> int:
        """Samples in the split."""
        return int(self.manifest["splits"][split]["num_samples"])

    def sample_columns(self) -> list[str]:
        """Names of the columns of samples.parquet."""
        with self.storage.reader("samples.parquet") as stream:
            names: list[str] = pq.read_schema(stream).names
        return names

    def samples(self, columns: list[str] | None = None) -> pa.Table:
        """SAMPLE_SCHEMA rows of every image considered, samples and dropped ones."""
        with self.storage.reader("samples.parquet") as stream:
            return pq.read_table(stream, columns=columns)


def named_files(manifest: Mapping[str, Any]) -> dict[str, tuple[str, int]]:
    """Name -> (SHA-256, bytes) of every file that a manifest names."""
    files = {name: (str(file["sha256"]), int(file["num_bytes"])) for name, file in manifest["files"].items()}
    for split in manifest["splits"].values():
        files |= {shard["name"]: (str(shard["sha256"]), int(shard["num_bytes"])) for shard in split["shards"]}
    return files


def workspace_name(version: str, name: str) -> str:
    """Name within the workspace of what release `version` calls `name`: `../P/x` of an earlier release is `releases/P/x`."""
    return f"{RELEASES_DIR}/{name.removeprefix('../')}" if name.startswith("../") else f"{RELEASES_DIR}/{version}/{name}"


def release_name(version: str, name: str) -> str:
    """What release `version` calls the file of that name within the workspace; the reverse of `workspace_name`."""
    below = name.removeprefix(f"{RELEASES_DIR}/")
    return below.removeprefix(f"{version}/") if below.startswith(f"{version}/") else f"../{below}"


def own_name(name: str) -> str:
    """What the release that wrote a file calls it: `../P/x` is `x`."""
    return name.split("/", 2)[2] if name.startswith("../") else name


def open_release(storage: Storage, name: str) -> Release:
    """The release of a workspace by version, alias or address; raises StorageError that names those there are."""
    return open_release_folder(storage.sub(f"{RELEASES_DIR}/{resolve_release(storage, name)}"))


def open_release_folder(folder: Storage) -> Release:
    """The release in a folder of its own, wherever that lies; raises StorageError where there is none, or its manifest is none."""
    if not folder.exists(MANIFEST_NAME):
        raise StorageError(f"{folder.root!r} holds no {MANIFEST_NAME}: name a release's own folder, <workspace>/{RELEASES_DIR}/<version>.")
    data = folder.read_bytes(MANIFEST_NAME)
    try:
        manifest = json.loads(data)
        return Release(str(manifest["version"]), digest_bytes(data), manifest, folder)
    except (ValueError, KeyError, TypeError):
        raise StorageError(f"{folder.uri(MANIFEST_NAME)!r} is no manifest of a release; `treeoflife verify` says more.") from None


def locate_release(settings: WorkspaceSettings, name: str) -> Storage:
    """The folder of the release that a command names: by version or alias in the workspace of `settings`, or by address.

    S3 is accessed as `settings` say, wherever the address points. Raises StorageError that names the releases there are.
    """
    if is_address(name):
        folder = open_storage(_folder_at(name), settings.s3)
        folder.at_first_contact.exists(MANIFEST_NAME)
        return folder
    workspace = open_workspace(settings)
    return workspace.sub(f"{RELEASES_DIR}/{resolve_release(workspace.at_first_contact, name)}")


def workspace_around(folder: Storage) -> Storage | None:
    """The workspace in which a release's folder lies as `releases/<version>`, or None where it lies elsewhere."""
    above, _, _ = folder.root.rpartition("/")
    root, _, name = above.rpartition("/")
    return Storage(root, folder.options) if root and name == RELEASES_DIR else None


def is_address(name: str) -> bool:
    """True for the folder of a release or its manifest.json, at a path or URL; a word without a slash only where it is there."""
    return "/" in name or name.startswith("~") or name == MANIFEST_NAME or (Path(name) / MANIFEST_NAME).is_file()


def _folder_at(address: str) -> str:
    if "://" in address:
        return address.rstrip("/").removesuffix(f"/{MANIFEST_NAME}").rstrip("/")
    path = Path(address).expanduser()
    return str((path.parent if path.name == MANIFEST_NAME else path).resolve())


def list_releases(storage: Storage) -> list[str]:
    """Versions of all complete releases, sorted."""
    names = storage.list(RELEASES_DIR)
    return sorted(name.split("/")[1] for name in names if name.endswith(f"/{MANIFEST_NAME}") and name.count("/") == 2)


def resolve_release(storage: Storage, name: str) -> str:
    """The version that a version, an alias or an address within the workspace names; raises StorageError with the names there are."""
    if "/" not in name and storage.exists(f"{RELEASES_DIR}/{name}/{MANIFEST_NAME}"):
        return name
    if is_address(name):
        return _version_at(storage, name)
    aliases = read_aliases(storage)
    if (version := aliases.get(name)) is not None:
        if not storage.exists(f"{RELEASES_DIR}/{version}/{MANIFEST_NAME}"):
            raise StorageError(f"alias {name!r} names release {version!r}, which is not in {storage.root!r}; `treeoflife promote` another.")
        return version
    versions = list_releases(storage)
    if not versions:
        raise StorageError(f"{storage.root!r} holds no release; run `treeoflife curate` first.")
    found = ", ".join([*versions, *aliases])
    raise StorageError(f"release {name!r} is not in {storage.root!r}; there: {found}. `treeoflife curate` makes one.")


def _version_at(storage: Storage, address: str) -> str:
    root = storage.root if "://" in storage.root else str(Path(storage.root).resolve())
    above, _, version = _folder_at(address).rpartition("/")
    if above != f"{root}/{RELEASES_DIR}" or not storage.exists(f"{RELEASES_DIR}/{version}/{MANIFEST_NAME}"):
        raise StorageError(
            f"{address!r} is no release of the workspace {storage.root!r}; name the workspace that it lies in by --workspace."
        )
    return version


def latest_release(storage: Storage) -> str:
    """Version that the alias `latest` names; raises StorageError when nothing was released yet."""
    version = read_aliases(storage).get(LATEST)
    if version is None:
        raise StorageError(f"{storage.root!r} holds no release; run `treeoflife curate` first.")
    return version


def read_aliases(storage: Storage) -> dict[str, str]:
    """Version by alias, sorted; raises StorageError for a file that is none."""
    found = {}
    for name in storage.list(RELEASES_DIR):
        if name.count("/") == 1 and name.endswith(_ALIAS_SUFFIX):
            try:
                found[name.split("/")[1].removesuffix(_ALIAS_SUFFIX)] = str(json.loads(storage.read_bytes(name))["version"])
            except (ValueError, KeyError, TypeError):
                raise StorageError(
                    f"{storage.uri(name)!r} is no alias; remove it, or `treeoflife promote` a version by its name."
                ) from None
    return found


def point_alias(storage: Storage, alias: str, version: str) -> None:
    """Make `alias` name `version`, in one step; the file is left untouched when it does.

    Raises UsageError for an alias that is no lower-case word of at least two letters, that is a split, or that a version bears.
    """
    if alias in SPLITS:
        raise UsageError(f"alias {alias!r} is refused: a split is called so; take a word such as `latest` or `stable`.")
    if not _ALIAS.fullmatch(alias) or storage.exists(f"{RELEASES_DIR}/{alias}/{MANIFEST_NAME}"):
        raise UsageError(f"alias {alias!r} is refused: take a lower-case word such as `latest` or `stable` that is no version.")
    name, data = f"{RELEASES_DIR}/{alias}{_ALIAS_SUFFIX}", readable_json({"version": version})
    if not (storage.exists(name) and storage.read_bytes(name) == data):
        storage.write_bytes(name, data)


def remove_alias(storage: Storage, alias: str) -> str:
    """Remove an alias, never a release; returns the version that it named. Raises UsageError where there is no such alias."""
    aliases = read_aliases(storage)
    if alias not in aliases:
        raise UsageError(f"alias {alias!r} is not in {storage.root!r}; there: {', '.join(aliases) or 'none'}.")
    storage.remove(f"{RELEASES_DIR}/{alias}{_ALIAS_SUFFIX}")
    return aliases[alias]


def dangling_aliases(storage: Storage) -> dict[str, str]:
    """Version by alias, of those aliases whose version is missing."""
    versions = set(list_releases(storage))
    return {alias: version for alias, version in read_aliases(storage).items() if version not in versions}


def point_latest(storage: Storage, version: str) -> None:
    """Make the alias `latest` name `version`."""
    point_alias(storage, LATEST, version)
