"""Is a release what its manifest says, and does it hold no leak? Every finding names the file, what was found and what should be there.

`manifest.sha256` seals the manifest, the manifest names every other file with size and SHA-256. Who changes a file can change these too.
So all that a release says twice, or that follows from what it says, is compared or made again as well. Without `deep`, sizes, counts, the
rows of samples.parquet and the gate alone are looked at, and the result says so. What no release can vouch for is named by `deep`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bioclip import layout
from bioclip.digests import digest_bytes
from bioclip.errors import StorageError
from bioclip.releases.manifest import named_files
from bioclip.storage import Storage
from bioclip.verification.descriptions import check_shard_lists, check_texts, is_same_code
from bioclip.verification.files import check_extra_files, check_files, check_seal
from bioclip.verification.findings import UNREADABLE, Finding, guarded, shortened
from bioclip.verification.leaks import check_evaluated, check_evidence, check_fingerprints, check_gate
from bioclip.verification.manifest import check_manifest, check_parent, has_absent_parent, is_inside
from bioclip.verification.samples import check_samples
from bioclip.verification.tables import check_lists, check_tables
from bioclip.verification.tars import check_tars

__all__ = ["Finding", "Verification", "named_files", "verify_release"]

_TABLES = (layout.CATALOG, layout.PROVENANCE, layout.ATTRIBUTION, layout.LICENSES)
_NEVER_VOUCHED = (
    "what providers wrote (names, licences, holders, titles, pages, observers)",
    "hashes of files as they came, and of their pixels (a picture's pHash is compared)",
    "sources, snapshots, backbones, inputs, seed and other settings, code version",
    "counts of the stages before `release`",
)
"""What a release alone cannot prove: it would take the workspace, or a signature."""


@dataclass(frozen=True)
class Verification:
    """`findings` is empty for a sound release. `num_unread_bytes` lie in files of which only the size was compared; `not_vouched` says what
    no check of the release alone can see."""

    digest: str
    findings: tuple[Finding, ...]
    num_files: int
    num_bytes: int
    num_unread_bytes: int
    not_vouched: tuple[str, ...] = ()


def verify_release(storage: Storage, deep: bool = False) -> Verification:
    """Check the release in `storage` (its folder); raises StorageError where there is no release at all.

    `deep` reads every byte, and makes again whatever follows from samples.parquet and the manifest: other tables, texts, tars, indexes.
    """
    if not storage.exists(layout.MANIFEST):
        raise StorageError(f"{storage.root!r} holds no {layout.MANIFEST}: name a release's own folder, <workspace>/releases/<version>.")
    data = storage.read_bytes(layout.MANIFEST)
    digest = digest_bytes(data)
    findings = list(check_seal(storage, digest))
    try:
        manifest = json.loads(data)
        files = named_files(manifest)
        findings += check_manifest(manifest)
    except UNREADABLE as error:
        findings.append(Finding("manifest_damaged", layout.MANIFEST, f"{type(error).__name__}: {shortened(error)}"))
        return Verification(digest, tuple(findings), 1, len(data), 0)
    own = {name: stated for name, stated in files.items() if is_inside(name)}
    damaged = list(check_files(storage, own, deep))
    findings += damaged
    unread = {finding.name for finding in damaged} | files.keys() - own.keys()
    findings += check_extra_files(storage, files)
    findings += guarded(layout.MANIFEST, check_parent(storage, manifest))
    findings += _Contents(storage, manifest, own.keys() - unread).findings(deep)
    num_bytes = sum(num_bytes for _, num_bytes in own.values())
    not_vouched = _not_vouched(storage, manifest) if deep else ()
    return Verification(digest, tuple(dict.fromkeys(findings)), len(files), num_bytes, 0 if deep else num_bytes, not_vouched)


def _not_vouched(storage: Storage, manifest: Mapping[str, Any]) -> tuple[str, ...]:
    more = []
    if not is_same_code(manifest):
        more.append(f"wording of README.md, ATTRIBUTION.md, croissant.json (bioclip-pipeline {manifest.get('code_version')} wrote them)")
    if has_absent_parent(storage, manifest):
        more.append(f"the release that it continues, {manifest['parent']['version']}, which is not beside it")
    return (*_NEVER_VOUCHED, *more)


@dataclass(frozen=True)
class _Contents:
    """The checks of what lies within files; `readable` are those that are what the manifest says."""

    storage: Storage
    manifest: Mapping[str, Any]
    readable: frozenset[str] | set[str]

    def findings(self, deep: bool) -> Iterator[Finding]:
        """Those of the checks whose files can be read; that others cannot is a finding already."""
        if self._has(layout.SAMPLES):
            yield from guarded(layout.SAMPLES, check_samples(self.storage, self.manifest))
        if self._has(layout.FINGERPRINTS, *({layout.EVALUATED} & self.manifest["files"].keys())):
            yield from guarded(f"{layout.FINGERPRINTS}, {layout.EVALUATED}", check_gate(self.storage, self.manifest))
        if deep and self._has(layout.SAMPLES):
            yield from self._deep()

    def _deep(self) -> Iterator[Finding]:
        storage, manifest = self.storage, self.manifest
        num_samples = sum(split["num_samples"] for split in manifest["splits"].values())
        unread = manifest["files"].keys() - self.readable
        if self._has(layout.FINGERPRINTS):
            yield from guarded(layout.FINGERPRINTS, check_fingerprints(storage, num_samples))
        if self._has(layout.FINGERPRINTS, layout.EVALUATED):
            yield from guarded(layout.EVALUATED, check_evaluated(storage, manifest))
        if self._has(layout.LEAKS):
            yield from guarded(layout.LEAKS, check_evidence(storage))
        if self._has(*_TABLES):
            yield from guarded(", ".join(_TABLES), check_tables(storage, num_samples))
        lists = {layout.TRAIN_SMALL, layout.HELDOUT_LIST} & self.readable
        yield from guarded(", ".join(sorted(lists)), check_lists(storage, manifest, lists))
        yield from guarded("sizes.json, shardindex.json", check_shard_lists(storage, manifest, unread))
        if self._has(layout.LICENSES) and is_same_code(manifest):
            yield from guarded("README.md, ATTRIBUTION.md, croissant.json", check_texts(storage, manifest, unread))
        yield from guarded(layout.SAMPLES, check_tars(storage, manifest, unread | self._broken_shards()))

    def _broken_shards(self) -> set[str]:
        return {shard["name"] for split in self.manifest["splits"].values() for shard in split["shards"]} - self.readable

    def _has(self, *names: str) -> bool:
        return set(names) <= self.readable
