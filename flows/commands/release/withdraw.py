"""`treeoflife release withdraw`."""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.commands.answers import Answer
from flows.commands.parameters import SETTINGS, SettingsOptions

if TYPE_CHECKING:
    from bioclip.storage import Storage
    from bioclip.withdrawals.matches import WithdrawalMatch

_SHOWN = 5


def withdraw_images(
    values: Annotated[list[str], Parameter(name="ID", metavar="ID", help="record id, media URL or SHA-256; one or more")],
    /,
    *,
    reason: Annotated[str, Parameter(metavar="TEXT", help="recorded in the list with the date and the user")] = "",
    options: SettingsOptions = SETTINGS,
) -> Answer:
    """Add images to the withdrawal list, and print the releases that hold them.

    The next release is built without them. Nothing is listed when one of the ids is not valid.

    Example: `treeoflife release withdraw https://example.org/1.jpg --reason "asked by the owner" --workspace demo`

    JSON keys: list, images, releases.
    """
    from datetime import UTC, datetime

    from bioclip.errors import UsageError
    from bioclip.storage import open_workspace
    from bioclip.withdrawals import append_withdrawals, kind_of, normal, read_withdrawals
    from bioclip.withdrawals.matches import match_records

    settings = options.load()
    workspace = open_workspace(settings.workspace)
    if wrong := next((value for value in values if not kind_of(value)), ""):
        raise UsageError(
            f"{wrong!r} is not a record id (UUID), media URL (scheme://… or local:…) or SHA-256; `treeoflife release trace` finds the "
            "record id of other identifiers."
        )
    before = read_withdrawals(workspace, settings.ingest)
    signed = [datetime.now(UTC).date().isoformat(), _user(), " ".join(reason.split())]
    where = append_withdrawals(workspace, settings.ingest, [[value, *signed] for value in values])
    found = {value: match_records(workspace, _find(workspace, value)) for value in dict.fromkeys(normal(value) for value in values)}
    is_new = {value: not before.listing(value) for value in found}
    releases = sorted({release for one in found.values() for release in one.releases})
    images = [
        {"id": value, "is_new": is_new[value], "record_ids": one.record_ids, "releases": one.releases, "duplicates": one.duplicates}
        for value, one in found.items()
    ]
    return Answer({"list": where, "images": images, "releases": releases}, _lines(where, found, is_new, releases))


def _lines(where: str, found: Mapping[str, WithdrawalMatch], is_new: Mapping[str, bool], releases: Sequence[str]) -> list[str]:
    text = [f"{value}: {'listed' if is_new[value] else 'already listed'}; {_described(one)}" for value, one in found.items()]
    text.append(f"list: {where}\nnext: `treeoflife curate` builds a release without them")
    if releases:
        discards = " ".join(f"--discard {version}" for version in releases)
        text.append(f"then: `treeoflife release gc {discards} --delete` deletes the releases that hold them, once no alias points to them")
    return text


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return ""


def _find(workspace: Storage, value: str) -> list[str]:
    from bioclip.errors import StorageError
    from bioclip.trace import Scope, find_images

    try:
        return find_images(Scope(None, workspace), value, everywhere=True)
    except StorageError:
        return []


def _described(found: WithdrawalMatch) -> str:
    if not found.record_ids:
        return "no match in this workspace; it will be rejected if it appears later"
    records = f"{len(found.record_ids):,} records ({_first(found.record_ids)})"
    releases = f"samples in {', '.join(found.releases)}" if found.releases else "in no release"
    duplicates = (
        f"; {len(found.duplicates):,} duplicates are not included and will be kept: {_first(found.duplicates)}" if found.duplicates else ""
    )
    return f"{records}, {releases}{duplicates}"


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
