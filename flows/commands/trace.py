"""`treeoflife trace`: an image's whole line of descent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from bioclip.releases.locating import is_address, locate_release
from bioclip.settings import PipelineSettings
from bioclip.storage import open_workspace
from bioclip.trace import Descent, find_images, open_sight, open_sight_at, trace_image, with_takedowns

MOST_SHOWN = 20
"""Images of one identifier that are printed."""


def trace(settings: PipelineSettings, identifier: str, release: str, as_json: bool) -> int:
    """Print the line of descent of every image that `identifier` means, at most 20; returns 0."""
    if is_address(release):
        sight = open_sight_at(locate_release(settings.workspace, release))
    else:
        sight = open_sight(open_workspace(settings.workspace), release)
    sight = with_takedowns(sight, settings.ingest)
    found = find_images(sight, identifier)
    descents = [trace_image(sight, record_id) for record_id in found[:MOST_SHOWN]]
    if as_json:
        values = {"identifier": identifier, "num_images": len(found), "images": [descent.to_dict() for descent in descents]}
        print(json.dumps(values, indent=1, ensure_ascii=False))
        return 0
    for descent in descents:
        print("\n".join(_lines(descent)) + "\n")
    if len(found) > len(descents):
        print(f"{identifier!r} means {len(found):,} images; shown are the first {len(descents)}. Ask by record id for the others.")
    return 0


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
