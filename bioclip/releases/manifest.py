"""Opening a release."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.digests import digest_bytes
from bioclip.errors import StorageError
from bioclip.storage import Storage

SPLITS = ("train", "val", "heldout")
"""`train`; `val`: held-out occurrences of known species; `heldout`: species that are never trained on."""


@dataclass(frozen=True)
class Release:
    """A dataset version. `digest` is the SHA-256 of its manifest, which lists every file's digest."""

    version: str
    digest: str
    manifest: Mapping[str, Any]
    storage: Storage

    def shards(self, split: str) -> list[str]:
        """Names of the split's tars within `storage`, in order; those of an earlier release begin with `../<version>/`."""
        return [shard["name"] for shard in self.manifest["splits"][split]["shards"]]

    def files(self) -> dict[str, tuple[str, int]]:
        """Name -> (SHA-256, bytes) of every file in the manifest."""
        return named_files(self.manifest)

    @property
    def parent(self) -> tuple[str, str]:
        """Version and manifest digest of the parent release, or two empty strings."""
        parent = self.manifest.get("parent") or {}
        return str(parent.get("version", "")), str(parent.get("digest", ""))

    def num_samples(self, split: str) -> int:
        """Samples in the split."""
        return int(self.manifest["splits"][split]["num_samples"])

    def sample_columns(self) -> list[str]:
        """Names of the columns of samples.parquet."""
        with self.storage.reader(layout.SAMPLES) as stream:
            names: list[str] = pq.read_schema(stream).names
        return names

    def samples(self, columns: list[str] | None = None) -> pa.Table:
        """SAMPLE_SCHEMA rows of every image considered, samples and dropped ones."""
        with self.storage.reader(layout.SAMPLES) as stream:
            return pq.read_table(stream, columns=columns)


def named_files(manifest: Mapping[str, Any]) -> dict[str, tuple[str, int]]:
    """Name -> (SHA-256, bytes) of every file in a manifest."""
    files = {name: (str(file["sha256"]), int(file["num_bytes"])) for name, file in manifest["files"].items()}
    for split in manifest["splits"].values():
        files |= {shard["name"]: (str(shard["sha256"]), int(shard["num_bytes"])) for shard in split["shards"]}
    return files


def workspace_name(version: str, name: str) -> str:
    """Name within the workspace of the file that release `version` lists as `name`: `../P/x` of an earlier release is `releases/P/x`."""
    return f"{layout.RELEASES_DIR}/{name.removeprefix('../')}" if name.startswith("../") else f"{layout.release_dir(version)}/{name}"


def release_name(version: str, name: str) -> str:
    """Name by which release `version` lists a file of the workspace; the inverse of `workspace_name`."""
    below = name.removeprefix(f"{layout.RELEASES_DIR}/")
    return below.removeprefix(f"{version}/") if below.startswith(f"{version}/") else f"../{below}"


def own_name(name: str) -> str:
    """Name of a file in the release that wrote it: `../P/x` gives `x`."""
    return name.split("/", 2)[2] if name.startswith("../") else name


def open_release_folder(folder: Storage) -> Release:
    """The release in a folder at any location; raises StorageError if there is none, or its manifest is invalid."""
    if not folder.exists(layout.MANIFEST):
        raise StorageError(
            f"{folder.root!r} holds no {layout.MANIFEST}: name a release's own folder, <workspace>/{layout.RELEASES_DIR}/<version>."
        )
    data = folder.read_bytes(layout.MANIFEST)
    try:
        manifest = json.loads(data)
        return Release(str(manifest["version"]), digest_bytes(data), manifest, folder)
    except (ValueError, KeyError, TypeError):
        raise StorageError(
            f"{folder.uri(layout.MANIFEST)!r} is not a valid manifest; run `treeoflife release verify` for details."
        ) from None


def list_releases(storage: Storage) -> list[str]:
    """Versions of all complete releases, sorted."""
    names = storage.list(layout.RELEASES_DIR)
    return sorted(name.split("/")[1] for name in names if name.endswith(f"/{layout.MANIFEST}") and name.count("/") == 2)


KEPT_SHARDS = "kept"
"""Name of the partition of the stage `shards` whose outputs are files of earlier releases."""
