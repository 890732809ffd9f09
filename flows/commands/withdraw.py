"""`treeoflife withdraw`: list images that must leave, and say where they still are."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from datetime import UTC, datetime

from bioclip.errors import UsageError
from bioclip.settings import PipelineSettings
from bioclip.storage import open_workspace
from bioclip.takedowns import append_takedown, kind_of, normal, read_takedowns
from bioclip.trace.withdrawals import Matched, match_value

_SHOWN = 5


def withdraw(settings: PipelineSettings, values: Sequence[str], reason: str) -> int:
    """Append what is not listed yet to the takedown list, print what each value matches now and what to run next; returns 0.

    Raises UsageError for what is no id, URL or hash; then nothing is listed.
    """
    workspace = open_workspace(settings.workspace)
    if wrong := next((value for value in values if not kind_of(value)), ""):
        raise UsageError(
            f"{wrong!r} is no record id (UUID), media URL (scheme://… or local:…) or SHA-256; `treeoflife trace` finds the id of others."
        )
    before = read_takedowns(workspace, settings.ingest)
    signed = [datetime.now(UTC).date().isoformat(), _user(), " ".join(reason.split())]
    where = append_takedown(workspace, settings.ingest, [[value, *signed] for value in values])
    holding: set[str] = set()
    for value in dict.fromkeys(normal(value) for value in values):
        found = match_value(workspace, value)
        holding |= set(found.releases)
        print(f"{value}: {'already listed' if before.listing(value) else 'listed now'}; {_told(found)}")
    print(f"the list is {where}\nnext: `treeoflife curate` makes a release without them")
    if holding:
        options = " ".join(f"--give-up {version}" for version in sorted(holding))
        print(f"then: `treeoflife gc {options} --delete` deletes the releases that hold them, once no alias names these any more")
    return 0


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return ""


def _told(found: Matched) -> str:
    if not found.record_ids:
        return "it matches nothing in the workspace now, and will be refused when it comes"
    records = f"{len(found.record_ids):,} records ({_some(found.record_ids)})"
    releases = f"samples in {', '.join(found.releases)}" if found.releases else "in no release"
    likes = (
        f"; {len(found.likes):,} other images of the same photograph are not meant and stay: {_some(found.likes)}" if found.likes else ""
    )
    return f"{records}, {releases}{likes}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
