"""Seal, sizes and digests of a release's files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bioclip import layout
from bioclip.storage import Storage
from bioclip.verification.findings import Finding

_OWN = ("partitions/",)
"""Records of the runs that wrote the release, which are not part of it."""


def check_seal(storage: Storage, digest: str) -> Iterator[Finding]:
    """manifest.sha256 against the manifest's SHA-256."""
    if not storage.exists(layout.SEAL):
        yield Finding("seal_missing", layout.SEAL, "the manifest has no seal")
    elif (sealed := storage.read_bytes(layout.SEAL)) != f"{digest}  {layout.MANIFEST}\n".encode():
        stated = sealed.decode("utf-8", "replace").split(" ")[0].strip()
        if stated == digest:
            yield Finding("seal_changed", layout.SEAL, "expected exactly the manifest's SHA-256 and name")
        else:
            yield Finding("manifest_changed", layout.MANIFEST, f"SHA-256 {digest}; the seal states {stated[:64]!r}")


def check_files(storage: Storage, files: Mapping[str, tuple[str, int]], deep: bool) -> Iterator[Finding]:
    """Every file in the manifest: present, with its size and, if `deep`, its digest."""
    for name, (sha256, num_bytes) in sorted(files.items()):
        if not storage.exists(name):
            yield Finding("file_missing", name, f"{num_bytes} bytes, SHA-256 {sha256}")
        elif (found := storage.num_bytes(name)) != num_bytes:
            yield Finding("size_differs", name, f"{found} bytes; the manifest states {num_bytes}")
        elif deep and (found_sha256 := storage.digest(name)[0]) != sha256:
            yield Finding("digest_differs", name, f"SHA-256 {found_sha256}; the manifest states {sha256}")


def check_extra_files(storage: Storage, files: Mapping[str, tuple[str, int]]) -> Iterator[Finding]:
    """Files in the folder that the manifest does not list."""
    known = {*files, layout.MANIFEST, layout.SEAL}
    for name in storage.list():
        if name not in known and not name.startswith(_OWN):
            yield Finding("file_not_named", name, "not listed in the manifest")
