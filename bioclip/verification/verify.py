"""Checks that a release matches its manifest and has no leak. Each finding names the file, what was found and what was expected.

`manifest.sha256` seals the manifest, and the manifest lists every other file with size and SHA-256. Because whoever changes a file can
change those too, redundant statements are cross-checked, and every derived file is recomputed and compared byte for byte. Without `deep`
only sizes, counts, the rows of samples.parquet and the leakage gate are checked. A deep check also lists what a release alone cannot prove.
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
from bioclip.verification.shard_tars import check_tars
from bioclip.verification.split_reasons import check_split_reasons
from bioclip.verification.tables import check_lists, check_tables

__all__ = ["Finding", "Verification", "named_files", "verify_release"]

_TABLES = (layout.CATALOG, layout.PROVENANCE, layout.ATTRIBUTION, layout.LICENSES)
_NEVER_VERIFIABLE = (
    "the providers' statements (names, licences, holders, titles, pages, observers)",
    "hashes of the downloaded files and of their pixels (an image's pHash is checked)",
    "sources, snapshots, backbones, inputs, seed and other settings, code version",
    "counts of the stages before `release`",
)
"""Statements that a release alone cannot prove; they need the workspace, or a signature."""


@dataclass(frozen=True)
class Verification:
    """`findings` is empty for an intact release. `num_unread_bytes` is the size of files whose content was not read; `unverifiable` lists
    the statements that a check of the release alone cannot prove."""

    digest: str
    findings: tuple[Finding, ...]
    num_files: int
    num_bytes: int
    num_unread_bytes: int
    unverifiable: tuple[str, ...] = ()


def verify_release(storage: Storage, deep: bool = False) -> Verification:
    """Check the release in `storage` (its folder); raises StorageError if there is no release.

    `deep` reads every byte, recomputes every derived file (other tables, texts, tars, indexes) and compares it byte for byte.
    """
    if not storage.exists(layout.MANIFEST):
        raise StorageError(f"{storage.root!r} holds no {layout.MANIFEST}; give the folder of a release, <workspace>/releases/<version>.")
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
    findings += _ContentChecks(storage, manifest, own.keys() - unread).findings(deep)
    num_bytes = sum(num_bytes for _, num_bytes in own.values())
    unverifiable = _unverifiable(storage, manifest) if deep else ()
    return Verification(digest, tuple(dict.fromkeys(findings)), len(files), num_bytes, 0 if deep else num_bytes, unverifiable)


def _unverifiable(storage: Storage, manifest: Mapping[str, Any]) -> tuple[str, ...]:
    more = []
    if not is_same_code(manifest):
        more.append(f"wording of README.md, ATTRIBUTION.md, croissant.json (bioclip-pipeline {manifest.get('code_version')} wrote them)")
    if has_absent_parent(storage, manifest):
        more.append(f"the parent release {manifest['parent']['version']}, which is not in the same folder")
    return (*_NEVER_VERIFIABLE, *more)


@dataclass(frozen=True)
class _ContentChecks:
    """The checks of file contents; `readable` are the files that match the manifest."""

    storage: Storage
    manifest: Mapping[str, Any]
    readable: frozenset[str] | set[str]

    def findings(self, deep: bool) -> Iterator[Finding]:
        """The checks whose files can be read; unreadable files are findings already."""
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
        yield from guarded(layout.SAMPLES, check_split_reasons(storage, manifest))
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
