"""Opening a release."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bioclip.digests import digest_bytes, readable_json
from bioclip.errors import StorageError
from bioclip.storage import Storage

RELEASES_DIR = "releases"
SEAL_NAME = "manifest.sha256"
"""SHA-256 of manifest.json, as `sha256sum --check` reads it."""
SPLITS = ("train", "val", "heldout")
"""`train`; `val`: held-out occurrences of known species; `heldout`: species that training never sees."""


@dataclass(frozen=True)
class Release:
    """A dataset version. `digest` is the SHA-256 of its manifest, which names every file's digest."""

    version: str
    digest: str
    manifest: Mapping[str, Any]
    storage: Storage

    def shards(self, split: str) -> list[str]:
        """Names of the split's tars within `storage`, in order."""
        return [shard["name"] for shard in self.manifest["splits"][split]["shards"]]

    def num_samples(self, split: str) -> int:
        """Samples in the split."""
        return int(self.manifest["splits"][split]["num_samples"])

    def samples(self, columns: list[str] | None = None) -> pa.Table:
        """SAMPLE_SCHEMA rows of every image considered, samples and dropped ones."""
        with self.storage.reader("samples.parquet") as stream:
            return pq.read_table(stream, columns=columns)


def open_release(storage: Storage, version: str) -> Release:
    """The release `version` of a workspace; raises StorageError that names those there are."""
    folder = storage.sub(f"{RELEASES_DIR}/{version}")
    if not folder.exists("manifest.json"):
        found = ", ".join(list_releases(storage)) or "none"
        raise StorageError(f"release {version!r} is not in {storage.root!r}; there: {found}. `treeoflife curate` makes one.")
    data = folder.read_bytes("manifest.json")
    return Release(version, digest_bytes(data), json.loads(data), folder)


def list_releases(storage: Storage) -> list[str]:
    """Versions of all complete releases, sorted."""
    names = storage.list(RELEASES_DIR)
    return sorted(name.split("/")[1] for name in names if name.endswith("/manifest.json") and name.count("/") == 2)


def latest_release(storage: Storage) -> str:
    """Version that the alias `latest` names; raises StorageError when nothing was released yet."""
    name = f"{RELEASES_DIR}/latest.json"
    if not storage.exists(name):
        raise StorageError(f"{storage.root!r} holds no release; run `treeoflife curate` first.")
    version: str = json.loads(storage.read_bytes(name))["version"]
    return version


def point_latest(storage: Storage, version: str) -> None:
    """Make the alias `latest` name `version`; the file is left untouched when it does."""
    name, data = f"{RELEASES_DIR}/latest.json", readable_json({"version": version})
    if not (storage.exists(name) and storage.read_bytes(name) == data):
        storage.write_bytes(name, data)
