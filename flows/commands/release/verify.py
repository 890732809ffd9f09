"""`treeoflife release verify`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from flows.commands.answers import Answer
from flows.commands.exit_codes import ExitCode
from flows.commands.parameters import SETTINGS, Release, SettingsOptions

_SHOWN = 50


def verify_release(
    release: Release = "latest",
    *,
    deep: Annotated[bool, Parameter(help="read all bytes: every file's digest and every member of every shard")] = False,
    options: SettingsOptions = SETTINGS,
) -> Answer:
    """Check that a release matches its manifest; exit code 4 when it does not.

    Example: `treeoflife release verify latest --deep --workspace demo`

    JSON keys: uri, digest, ok, deep, findings, num_files, num_bytes, num_unread_bytes, unverifiable.
    """
    from bioclip.releases.locating import locate_release
    from bioclip.verification.verify import verify_release as verify

    storage = locate_release(options.load().workspace, release)
    result = verify(storage, deep)
    text = [f"{storage.root}: {result.num_files:,} files, {result.num_bytes:,} bytes, manifest {result.digest}"]
    text += [f"{finding.kind}  {finding.name}: {finding.detail}" for finding in result.findings[:_SHOWN]]
    if len(result.findings) > _SHOWN:
        text.append(f"... and {len(result.findings) - _SHOWN:,} more findings")
    if result.num_unread_bytes:
        text.append(f"Not checked: file contents other than tables ({result.num_unread_bytes:,} bytes).")
    if result.unverifiable:
        text.append(f"A release alone cannot prove: {'; '.join(result.unverifiable)}.")
        text.append("Compare the manifest's SHA-256 above with the published one.")
    ok = "OK" if deep else "OK (quick check; use `--deep` to read all bytes)"
    text.append(f"{len(result.findings):,} findings" if result.findings else ok)
    data = {
        "uri": storage.root, "digest": result.digest, "ok": not result.findings, "deep": deep, "findings": result.findings,
        "num_files": result.num_files, "num_bytes": result.num_bytes, "num_unread_bytes": result.num_unread_bytes,
        "unverifiable": result.unverifiable,
    }  # fmt: skip
    return Answer(data, text, ExitCode.VERIFY_FAILED if result.findings else ExitCode.DONE)
