"""`treeoflife verify`: is a release what its manifest says?"""

from __future__ import annotations

from bioclip.releases.locating import locate_release
from bioclip.settings import PipelineSettings
from bioclip.verification.verify import verify_release

UNSOUND = 4
"""Exit code where a release is not what its manifest says."""
_SHOWN = 50


def verify(settings: PipelineSettings, release: str, deep: bool) -> int:
    """Check a release (version, alias or address), print the findings; 0 when sound, UNSOUND when not."""
    storage = locate_release(settings.workspace, release)
    result = verify_release(storage, deep)
    print(f"{storage.root}: {result.num_files:,} files, {result.num_bytes:,} bytes, manifest {result.digest}")
    for finding in result.findings[:_SHOWN]:
        print(f"{finding.kind}  {finding.name}: {finding.detail}")
    if len(result.findings) > _SHOWN:
        print(f"... and {len(result.findings) - _SHOWN:,} more findings")
    if result.num_unread_bytes:
        print(
            f"Not looked at: what lies within the files ({result.num_unread_bytes:,} bytes), but for the tables. Changes that leave a "
            "file's size as it was, and what the members of a shard are, are seen by `--deep` alone."
        )
    if result.not_vouched:
        print(f"Not vouched for by any check of a release alone: {'; '.join(result.not_vouched)}.")
        print("Compare the manifest's SHA-256 above with the one that was published.")
    print(f"{len(result.findings):,} findings" if result.findings else "sound" if deep else "sound, as far as looked at")
    return UNSOUND if result.findings else 0
