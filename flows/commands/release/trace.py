"""`treeoflife release trace`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from flows.commands.answers import Answer
from flows.commands.parameters import SETTINGS, Release, SettingsOptions

if TYPE_CHECKING:
    from bioclip.trace import ImageTrace

MOST_SHOWN = 20
"""Images of one identifier that are printed."""


def trace_image(
    identifier: Annotated[
        str,
        Parameter(
            metavar="ID",
            help="record id, shard member, SHA-256, source's id, occurrence id, URL, or a path, name or value of your own table",
        ),
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
    from bioclip.trace import find_images, open_scope, open_scope_at, trace_image, with_withdrawals

    settings = options.load()
    if is_address(release):
        scope = open_scope_at(locate_release(settings.workspace, release))
    else:
        scope = open_scope(open_workspace(settings.workspace), release)
    scope = with_withdrawals(scope, settings.ingest)
    found = find_images(scope, identifier)
    traces = [trace_image(scope, record_id) for record_id in found[:MOST_SHOWN]]
    text = ["\n".join(_lines(image_trace)) + "\n" for image_trace in traces]
    if len(found) > len(traces):
        text.append(f"{identifier!r} matches {len(found):,} images; the first {len(traces)} are shown. Give a record id for another.")
    return Answer({"identifier": identifier, "num_images": len(found), "images": [one.to_dict() for one in traces]}, text)


def _lines(image_trace: ImageTrace) -> Iterator[str]:
    final = image_trace.final
    if final.stage == "sample":
        yield f"{image_trace.record_id}: sample of {final.reason} in release {image_trace.release}"
    else:
        where = f"dropped by {final.stage}" if final.stage else "not a sample"
        yield f"{image_trace.record_id}: {where}, {final.reason}" + (f" ({final.detail})" if final.detail else "")
    for step in image_trace.steps:
        yield f"\n{step.name}"
        for name, value in step.facts.items():
            yield from _fact(name, value, "  ")
        for remark in step.remarks:
            yield f"  note: {remark}"


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
