"""`treeoflife release gc`."""

from __future__ import annotations

from collections import defaultdict
from typing import Annotated

from cyclopts import Parameter

from flows.commands.answers import Answer
from flows.commands.parameters import SETTINGS, SettingsOptions
from flows.commands.release.listing import describe_dangling

_SHOWN = 40


def collect_garbage(
    *,
    discard: Annotated[tuple[str, ...], Parameter(metavar="RELEASE", help="a release to delete too, by version; repeatable")] = (),
    delete: Annotated[bool, Parameter(help="delete the listed files; run it while no other run is active")] = False,
    options: SettingsOptions = SETTINGS,
) -> Answer:
    """List the files of a workspace that no release and no stage uses, and delete them on request.

    Example: `treeoflife release gc --discard 3c79638b3e25 --delete --workspace demo`

    JSON keys: files, num_bytes, dangling_aliases, deleted.
    """
    from bioclip.releases.aliases import dangling_aliases
    from bioclip.releases.garbage import delete_garbage, find_garbage
    from bioclip.storage import open_workspace

    storage = open_workspace(options.load().workspace)
    garbage = find_garbage(storage, discard)
    by_reason: dict[str, list[int]] = defaultdict(list)
    for one in garbage:
        by_reason[one.reason].append(one.num_bytes)
    text = [f"{one.reason}  {one.name}  {one.num_bytes:,} bytes" for one in garbage[:_SHOWN]]
    if len(garbage) > _SHOWN:
        text.append(f"... and {len(garbage) - _SHOWN:,} more")
    text += [f"{reason}: {len(sizes):,} files, {sum(sizes):,} bytes" for reason, sizes in sorted(by_reason.items())]
    dangling = dangling_aliases(storage)
    text += describe_dangling(dangling)
    if delete:
        delete_garbage(storage, garbage)
    if not garbage:
        text.append("nothing to delete")
    else:
        text.append("deleted" if delete else "nothing was deleted; add --delete to delete, while no run is active")
    num_bytes = sum(one.num_bytes for one in garbage)
    return Answer({"files": garbage, "num_bytes": num_bytes, "dangling_aliases": dangling, "deleted": delete}, text)
