"""`treeoflife release trace`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from flows.commands.answers import Answer
from flows.commands.parameters import SETTINGS, Release, SettingsOptions

if TYPE_CHECKING:
    from bioclip.trace import Descent

MOST_SHOWN = 20
"""Images of one identifier that are printed."""


def trace_image(
    identifier: Annotated[
        str,
        Parameter(metavar="ID", help="record id, shard member, SHA-256, source's id (`id` or `source:id`), occurrence id or media URL"),
    ],
    /,
    release: Release = "latest",
    *,
    options: SettingsOptions = SETTINGS,
) -> Answer:
    """Show the lineage of an image, from the provider's row to the models trained on it, or why it was dropped.

    Prints at most 20 images.

    Example: `treeoflife release trace https://example.org/1.jpg --release latest --workspace demo`

    JSON keys: identifier, num_images, images.
    """
    from bioclip.releases.locating import is_address, locate_release
    from bioclip.storage import open_workspace
    from bioclip.trace import find_images, open_sight, open_sight_at, trace_image, with_takedowns

    settings = options.load()
    if is_address(release):
        scope = open_sight_at(locate_release(settings.workspace, release))
    else:
        scope = open_sight(open_workspace(settings.workspace), release)
    scope = with_takedowns(scope, settings.ingest)
    found = find_images(scope, identifier)
    descents = [trace_image(scope, record_id) for record_id in found[:MOST_SHOWN]]
    text = ["\n".join(_lines(descent)) + "\n" for descent in descents]
    if len(found) > len(descents):
        text.append(f"{identifier!r} matches {len(found):,} images; the first {len(descents)} are shown. Give a record id for another.")
    return Answer({"identifier": identifier, "num_images": len(found), "images": [one.to_dict() for one in descents]}, text)


def _lines(descent: Descent) -> Iterator[str]:
    fate = descent.fate
    if fate.stage == "sample":
        yield f"{descent.record_id}: sample of {fate.reason} in release {descent.release}"
    else:
        where = f"dropped by {fate.stage}" if fate.stage else "no sample yet"
        yield f"{descent.record_id}: {where}, {fate.reason}" + (f" ({fate.detail})" if fate.detail else "")
    for step in descent.steps:
        yield f"\n{step.name}"
        for name, value in step.facts.items():
            yield from _fact(name, value, "  ")
        for remark in step.unseen:
            yield f"  ? {remark}"


def _fact(name: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, dict) and any(isinstance(inner, dict) for inner in value.values()):
        yield f"{indent}{name}"
        for key, inner in value.items():
            yield from _fact(key, inner, indent + "  ")
    elif isinstance(value, dict):
        yield f"{indent}{name}: " + ", ".join(f"{key} {inner}" for key, inner in value.items())
    elif isinstance(value, list):
        yield f"{indent}{name}: " + "; ".join(map(str, value))
    else:
        yield f"{indent}{name}: {value}"
