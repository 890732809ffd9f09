"""Formats of taxonomic backbones. A new one is a module with a `Backbone` and one line in `FORMATS`."""

from __future__ import annotations

from pathlib import Path

from bioclip.errors import BackboneError, UnknownNameError
from bioclip.settings import BackboneSettings
from bioclip.taxonomy.backbones.dwca import DwcaBackbone
from bioclip.taxonomy.backbones.ncbi import NcbiBackbone
from bioclip.taxonomy.backbones.table import TableBackbone
from bioclip.taxonomy.backbones.usages import Backbone, Usage, Vernacular

__all__ = ["FORMATS", "Backbone", "Usage", "Vernacular", "open_backbone"]

FORMATS: dict[str, type[Backbone]] = {
    "dwca": DwcaBackbone,
    "ncbi": NcbiBackbone,
    "table": TableBackbone,
}


def open_backbone(settings: BackboneSettings) -> Backbone:
    """The backbone that `settings` name; raises UnknownNameError for its format and BackboneError when it is not there."""
    if settings.format not in FORMATS:
        raise UnknownNameError("backbone format", settings.format, FORMATS)
    path = Path(settings.path).expanduser()
    if not path.exists():
        raise BackboneError(f"backbone {settings.name!r}: {settings.path!r} does not exist; set taxonomy.backbones to your download.")
    return FORMATS[settings.format](path)
