"""Readers of provider archives. A new one is a new file here and a line in `FORMATS`."""

from __future__ import annotations

from bioclip.errors import SettingsError, UnknownNameError
from bioclip.settings import SourceSettings
from bioclip.sources import dwca, eol, eol_connector, inat_open_data
from bioclip.sources.reading import Dropped, Noted, SourceFormat

__all__ = ["FORMATS", "Dropped", "Noted", "SourceFormat", "source_format"]

FORMATS: dict[str, SourceFormat] = {
    "dwca": dwca.FORMAT,
    "eol": eol.FORMAT,
    "eol_connector": eol_connector.FORMAT,
    "inat_open_data": inat_open_data.FORMAT,
}
"""Format name -> reader."""


def source_format(source: SourceSettings) -> SourceFormat:
    """The reader of a source; raises UnknownNameError, or SettingsError for options that it does not know or misses."""
    if source.format not in FORMATS:
        raise UnknownNameError("source format", source.format, FORMATS)
    reader = FORMATS[source.format]
    if unknown := sorted(source.options.keys() - reader.options):
        known = ", ".join(sorted(reader.options)) or "none"
        raise SettingsError(f"source {source.name!r}: format {source.format!r} has no option {unknown[0]!r}; known: {known}.")
    if missing := sorted(reader.required - source.options.keys()):
        raise SettingsError(f"source {source.name!r}: format {source.format!r} needs options.{missing[0]}.")
    return reader
