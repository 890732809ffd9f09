"""Readers of provider archives. A new one is a new file here and a line in `FORMATS`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bioclip.errors import SettingsError, UnknownNameError
from bioclip.local_media import media_root
from bioclip.settings import SourceSettings
from bioclip.sources.contract import Dropped, Noted, SourceFormat
from bioclip.sources.formats import (
    bioscan,
    coco_camera_traps,
    dwca,
    eol,
    eol_connector,
    fathomnet,
    folder,
    gbif_csv,
    inat21,
    inat21_folder,
    inat_open_data,
    table,
    webdataset,
)

__all__ = ["FORMATS", "Dropped", "Noted", "SourceFormat", "are_all_labelled", "media_roots", "source_format"]

_LABEL = re.compile(r"(^|,)\s*label\s*=")

FORMATS: dict[str, SourceFormat] = {
    "bioscan": bioscan.FORMAT,
    "coco_camera_traps": coco_camera_traps.FORMAT,
    "dwca": dwca.FORMAT,
    "eol": eol.FORMAT,
    "eol_connector": eol_connector.FORMAT,
    "fathomnet": fathomnet.FORMAT,
    "folder": folder.FORMAT,
    "gbif_csv": gbif_csv.FORMAT,
    "inat21": inat21.FORMAT,
    "inat21_folder": inat21_folder.FORMAT,
    "inat_open_data": inat_open_data.FORMAT,
    "table": table.FORMAT,
    "webdataset": webdataset.FORMAT,
}
"""Format name -> reader."""


def media_roots(sources: Iterable[SourceSettings]) -> dict[str, str]:
    """Root of the `local:` URLs of each source whose format has such URLs."""
    return {source.name: str(media_root(source).expanduser()) for source in sources if source_format(source).local_media}


def are_all_labelled(sources: Iterable[SourceSettings]) -> bool:
    """True where every source gives labels of the user's own: class folders, or a column that is mapped to `label`."""
    return all(source.format == "folder" or _LABEL.search(source.options.get("map", "")) for source in sources)


def source_format(source: SourceSettings) -> SourceFormat:
    """The reader of a source; raises UnknownNameError, or SettingsError for unknown or missing options."""
    if source.format not in FORMATS:
        raise UnknownNameError("source format", source.format, FORMATS)
    reader = FORMATS[source.format]
    if unknown := sorted(source.options.keys() - reader.options):
        known = ", ".join(sorted(reader.options)) or "none"
        raise SettingsError(f"source {source.name!r}: format {source.format!r} has no option {unknown[0]!r}; known: {known}.")
    if missing := sorted(reader.required - source.options.keys()):
        raise SettingsError(f"source {source.name!r}: format {source.format!r} needs options.{missing[0]}.")
    return reader
