"""`treeoflife source diff`."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.commands.answers import Answer
from flows.commands.parameters import SETTINGS, SettingsOptions

if TYPE_CHECKING:
    from bioclip.settings import S3Settings


def diff_snapshots(
    *snapshots: Annotated[str, Parameter(metavar="SNAPSHOT", help="two snapshot ids or archives (path or URL), the older first")],
    source: Annotated[str, Parameter(metavar="NAME", help="the source; without SNAPSHOTs its last two in the workspace are compared")] = "",
    output: Annotated[str, Parameter(metavar="FILE", help="Parquet file of the records that differ (path or URL)")] = "",
    options: SettingsOptions = SETTINGS,
) -> Answer:
    """Count the records that two snapshots of a source add, change and withdraw.

    Example: `treeoflife source diff --source field-observations --settings settings.yaml`

    JSON keys: older, newer, added, changed, withdrawn, unchanged, columns.
    """
    from bioclip.sources.snapshot_diff import compare_snapshots
    from bioclip.storage.local_copies import local_input, local_output

    settings = options.load()

    def access() -> S3Settings:
        return settings.workspace.s3

    with ExitStack() as stack:
        local = [str(stack.enter_context(local_input(name, access))) if "://" in name else name for name in snapshots]
        target = stack.enter_context(local_output(output, access) if output else nullcontext(None))
        before, after, counts = compare_snapshots(settings, local, source, target)
    older, newer = snapshots or (before, after)
    columns = {name.rstrip("_"): number for name, number in sorted(counts.columns.items(), key=lambda item: (-item[1], item[0])) if number}
    changes = {name: getattr(counts, name) for name in ("added", "changed", "withdrawn", "unchanged")}
    text = [f"{older} -> {newer}", *(f"{name:<10} {number:>12,}" for name, number in changes.items())]
    text += [f"  changed {column:<28} {number:>12,}" for column, number in columns.items()]
    return Answer({"older": older, "newer": newer, **changes, "columns": columns}, text)
