"""`treeoflife verify`: check that a release is what its manifest states."""

from __future__ import annotations

from bioclip.releases.locating import locate_release
from bioclip.settings import PipelineSettings
from bioclip.verification.verify import verify_release

UNSOUND = 4
"""Exit code for a release with findings."""
_SHOWN = 50


def verify(settings: PipelineSettings, release: str, deep: bool) -> int:
    """Check a release (version, alias or address) and print the findings; returns 0, or UNSOUND with findings."""
    storage = locate_release(settings.workspace, release)
    result = verify_release(storage, deep)
    print(f"{storage.root}: {result.num_files:,} files, {result.num_bytes:,} bytes, manifest {result.digest}")
    for finding in result.findings[:_SHOWN]:
        print(f"{finding.kind}  {finding.name}: {finding.detail}")
    if len(result.findings) > _SHOWN:
        print(f"... and {len(result.findings) - _SHOWN:,} more findings")
    if result.num_unread_bytes:
        print(f"Not checked: file contents other than tables ({result.num_unread_bytes:,} bytes).")
    if result.unverifiable:
        print(f"A release alone cannot prove: {'; '.join(result.unverifiable)}.")
        print("Compare the manifest's SHA-256 above with the published one.")
    print(f"{len(result.findings):,} findings" if result.findings else "OK" if deep else "OK (quick check; use `--deep` to read all bytes)")
    return UNSOUND if result.findings else 0
