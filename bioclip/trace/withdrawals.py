"""What a record id, media URL or hash that is to leave means in a workspace: its records, the releases that hold them, and their likes."""

from __future__ import annotations

from dataclasses import dataclass

from bioclip import layout
from bioclip.errors import StorageError
from bioclip.storage import Storage
from bioclip.trace.lookup import find_images
from bioclip.trace.scope import Sight, find_rows


@dataclass(frozen=True)
class Matched:
    """`releases` hold one of the records as a sample; `likes` are other images of the same photographs, which are not meant."""

    record_ids: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()
    likes: tuple[str, ...] = ()


def match_value(workspace: Storage, value: str) -> Matched:
    """Look a value up in all tables and releases of a workspace; what nothing has matches nothing. Raises StorageError."""
    sight = Sight(None, workspace)
    try:
        found = find_images(sight, value, everywhere=True)
    except StorageError:
        return Matched()
    releases = [
        release.version
        for release in sight.other_releases
        if any(row["split"] for row in find_rows(release.storage, layout.SAMPLES, "record_id", found, ["record_id", "split"]))
    ]
    groups = {row["group_id"] for row in find_rows(workspace, layout.DUPLICATE_GROUPS, "record_id", found, ["group_id"])}
    likes = (
        {row["record_id"] for row in find_rows(workspace, layout.DUPLICATE_GROUPS, "group_id", groups, ["record_id"])} - set(found)
        if groups
        else set()
    )
    return Matched(tuple(found), tuple(releases), tuple(sorted(likes)))
