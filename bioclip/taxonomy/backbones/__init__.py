"""Formats of taxonomic backbones. A new one is a module with a `Backbone` and one line in `FORMATS`."""

from __future__ import annotations

from pathlib import Path

from bioclip.errors import BackboneError, UnknownNameError
from bioclip.settings import BackboneSettings
from bioclip.taxonomy.backbones.archives import Pack
from bioclip.taxonomy.backbones.coldp import ColdpBackbone
from bioclip.taxonomy.backbones.dwca import DwcaBackbone, WfoBackbone
from bioclip.taxonomy.backbones.eol import EolBackbone
from bioclip.taxonomy.backbones.gbif_simple import GbifSimpleBackbone
from bioclip.taxonomy.backbones.inaturalist import INaturalistBackbone
from bioclip.taxonomy.backbones.itis import ItisBackbone
from bioclip.taxonomy.backbones.ncbi import NcbiBackbone
from bioclip.taxonomy.backbones.opentree import OpenTreeBackbone
from bioclip.taxonomy.backbones.table import TableBackbone
from bioclip.taxonomy.backbones.usages import USAGE_SCHEMA, Backbone, Usage, Vernacular

__all__ = ["AUTO", "FORMATS", "USAGE_SCHEMA", "Backbone", "Usage", "Vernacular", "detect_format", "open_backbone"]

AUTO = "auto"
"""Setting for a format that is detected from the content."""

_READERS: tuple[type[Backbone], ...] = (
    NcbiBackbone, ItisBackbone, OpenTreeBackbone, ColdpBackbone, INaturalistBackbone, EolBackbone, WfoBackbone, GbifSimpleBackbone,
    TableBackbone, DwcaBackbone,
)  # fmt: skip
"""In the order in which detection tries them: Darwin Core last, since others are Darwin Core too."""

FORMATS: dict[str, type[Backbone]] = {reader.format: reader for reader in _READERS}


def open_backbone(settings: BackboneSettings) -> Backbone:
    """The backbone that `settings` name; raises UnknownNameError for an unknown format and BackboneError for a missing path."""
    if settings.format not in {*FORMATS, AUTO}:
        raise UnknownNameError("backbone format", settings.format, [*FORMATS, AUTO])
    path = Path(settings.path).expanduser()
    if not path.exists():
        raise BackboneError(f"backbone {settings.name!r}: {settings.path!r} does not exist; set taxonomy.backbones to your download.")
    return FORMATS[detect_format(path) if settings.format == AUTO else settings.format](path)


def detect_format(path: Path) -> str:
    """The name of the format of a download, by its files and their first lines; raises BackboneError if none matches."""
    pack = Pack(path)
    for reader in _READERS:
        if reader.fits(pack):
            return reader.format
    shown = ", ".join(sorted(pack.names)[:8]) or "nothing"
    raise BackboneError(f"backbone {str(path)!r} has an unknown format: it contains {shown}; set one of {', '.join(sorted(FORMATS))}.")
