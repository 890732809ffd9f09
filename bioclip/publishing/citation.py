"""The citation of a release."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bioclip.settings import CardSettings


def bibtex(manifest: Mapping[str, Any], card: CardSettings) -> str:
    """The citation in the settings, else one from name, version and those of creators, year and address that are set."""
    if card.citation:
        return card.citation.rstrip() + "\n"
    fields = {
        "author": " and ".join(f"{{{name}}}" for name in card.creators),
        "title": f"{{{card.title or manifest['name']}}}",
        "version": str(manifest["version"]),
        "year": card.date_published[:4],
        "url": card.url,
        "note": f"Made with bioclip-pipeline {manifest['code_version']}",
    }
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@misc{{{manifest['name']}-{manifest['version']},", *lines, "}"]) + "\n"
