"""Folders of files that are complete or absent, each file with its SHA-256 in a manifest that is written last.

The manifest's name contains the start of its own SHA-256, so no byte of a folder can change unnoticed. A folder without a manifest is
unfinished: its writer ended before it was complete.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from bioclip import layout
from bioclip.digests import digest_bytes, digest_stream, readable_json
from bioclip.errors import StorageError
from bioclip.storage import Storage

WriteFile = Callable[[Path], Any]
"""Writes a file at a local path."""


class FileEntry(TypedDict):
    """A file in the manifest."""

    sha256: str
    num_bytes: int


@dataclass(frozen=True)
class VerifiedFolder:
    """A folder of `storage`, and the name of its manifest, relative to the folder; '' if there is none."""

    storage: Storage
    name: str
    manifest: str = ""

    def write(self, files: Mapping[str, WriteFile], about: Mapping[str, Any]) -> VerifiedFolder:
        """Replace the folder's content by `files`, each written by its function to the given local path, and `about` in the manifest.

        The old manifest is removed first and the new one written last. Returns the folder with its manifest.
        """
        self.remove()
        return self.finish({file: self.write_file(file, write) for file, write in files.items()}, about)

    def finish(self, entries: Mapping[str, FileEntry], about: Mapping[str, Any]) -> VerifiedFolder:
        """Write the manifest of files that `write_file` wrote; returns the folder with it."""
        data = readable_json({"files": dict(entries), "about": dict(about)})
        manifest = layout.checkpoint_manifest(digest_bytes(data))
        self.storage.write_bytes(f"{self.name}/{manifest}", data)
        return VerifiedFolder(self.storage, self.name, manifest)

    def write_file(self, file: str, write: WriteFile) -> FileEntry:
        """Write one file, for a manifest that is written later."""
        with self.storage.writer(f"{self.name}/{file}") as stream:
            path = Path(stream.name)
            mode = path.stat().st_mode
            write(path)
            path.chmod(mode)  # a library may replace the file by another of its own mode
            with path.open("rb") as written:
                sha256, num_bytes = digest_stream(written)
        return {"sha256": sha256, "num_bytes": num_bytes}

    def about(self) -> dict[str, Any]:
        """What `write` was given about the folder; raises StorageError for a damaged manifest."""
        return dict(self._read_manifest()["about"])

    def files(self) -> list[str]:
        """Names of the files in the manifest; raises StorageError if it is damaged."""
        return sorted(self._read_manifest()["files"])

    def read(self, file: str) -> bytes:
        """Content of a file; raises StorageError if it differs from its digest or is missing."""
        entry = self._read_manifest()["files"][file]
        data = self.storage.read_bytes(f"{self.name}/{file}")
        if len(data) != entry["num_bytes"] or digest_bytes(data) != entry["sha256"]:
            raise StorageError(self._differs(file))
        return data

    def damage(self) -> str:
        """Which file is damaged or missing, as a sentence without its end; '' if every byte is as it was written."""
        try:
            for file, entry in self._read_manifest()["files"].items():
                name = f"{self.name}/{file}"
                if not self.storage.exists(name):
                    return f"{self.storage.uri(name)!r} is missing"
                if self.storage.digest(name) != (entry["sha256"], entry["num_bytes"]):
                    return self._differs(file)
        except _DamagedManifestError as error:
            return str(error)
        return ""

    def remove(self) -> None:
        """Remove the folder's files, its manifests first, so that a partly removed folder is an unfinished one."""
        names = self.storage.list(self.name)
        for name in sorted(names, key=lambda name: not layout.is_checkpoint_manifest(name)):
            self.storage.remove(name)
        self.storage.sweep_partials(self.name)
        self.storage.remove_empty_folders(self.name)

    def _differs(self, file: str) -> str:
        return f"{self.storage.uri(f'{self.name}/{file}')!r} differs from its SHA-256 in {self.manifest}"

    def _read_manifest(self) -> dict[str, Any]:
        name = f"{self.name}/{self.manifest}"
        data = self.storage.read_bytes(name)
        if layout.checkpoint_manifest(digest_bytes(data)) != self.manifest:
            raise _DamagedManifestError(f"{self.storage.uri(name)!r} differs from the SHA-256 in its name")
        content: dict[str, Any] = json.loads(data)
        return content


class _DamagedManifestError(StorageError):
    """A manifest differs from the digest in its name."""


def list_folders(storage: Storage, prefix: str) -> list[VerifiedFolder]:
    """The folders directly below `prefix` that hold files, by name; if one has several manifests, with the last."""
    manifests: dict[str, str] = {}
    for name in storage.list(prefix):
        folder, _, file = name.rpartition("/")
        if folder != prefix:
            manifests[folder] = file if layout.is_checkpoint_manifest(file) else manifests.get(folder, "")
    return [VerifiedFolder(storage, folder, manifest) for folder, manifest in sorted(manifests.items())]
