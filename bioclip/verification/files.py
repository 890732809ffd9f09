"""Seal, sizes and digests of a release's files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bioclip import layout
from bioclip.storage import Storage
from bioclip.verification.findings import Finding

_OWN = ("partitions/",)
"""Bookkeeping of the runs that wrote the release: no part of it."""


def check_seal(storage: Storage, digest: str) -> Iterator[Finding]:
    """manifest.sha256 against the manifest's SHA-256."""
    if not storage.exists(layout.SEAL):
        yield Finding("seal_missing", layout.SEAL, "nothing vouches for the manifest")
    elif (sealed := storage.read_bytes(layout.SEAL)) != f"{digest}  {layout.MANIFEST}\n".encode():
        stated = sealed.decode("utf-8", "replace").split(" ")[0].strip()
        if stated == digest:
            yield Finding("seal_changed", layout.SEAL, "it holds more or less than the manifest's SHA-256 and name")
        else:
            yield Finding("manifest_changed", layout.MANIFEST, f"its SHA-256 is {digest}, sealed was {stated[:64]!r}")


def check_files(storage: Storage, files: Mapping[str, tuple[str, int]], deep: bool) -> Iterator[Finding]:
    """Every file that the manifest names: there, of its size and, if `deep`, of its digest."""
    for name, (sha256, num_bytes) in sorted(files.items()):
        if not storage.exists(name):
            yield Finding("file_missing", name, f"{num_bytes} bytes, SHA-256 {sha256}")
        elif (found := storage.num_bytes(name)) != num_bytes:
            yield Finding("size_differs", name, f"{found} bytes; the manifest says {num_bytes}")
        elif deep and (found_sha256 := storage.digest(name)[0]) != sha256:
            yield Finding("digest_differs", name, f"SHA-256 {found_sha256}; the manifest says {sha256}")


def check_extra_files(storage: Storage, files: Mapping[str, tuple[str, int]]) -> Iterator[Finding]:
    """What lies in the folder and is not the manifest's."""
    known = {*files, layout.MANIFEST, layout.SEAL}
    for name in storage.list():
        if name not in known and not name.startswith(_OWN):
            yield Finding("file_not_named", name, "the manifest does not know it")
