"""Defaults from a source's settings for values that its files lack: location of the media, and licence."""

from __future__ import annotations

from typing import TypedDict

from bioclip.errors import ArchiveError
from bioclip.licenses import OTHER, normalize_license
from bioclip.local_media import local_url, media_root
from bioclip.settings import SourceSettings

RIGHTS_OPTIONS = frozenset({"license", "rights_holder"})
"""Options for data sets that state their licence and holder outside the file: used for rows that state none."""
MEDIA_OPTIONS = frozenset({"images"})
"""Option: base URL of the media, or the local folder or archive that holds them (default: the folder of the file)."""


class Rights(TypedDict):
    """The record's fields on licence and holder."""

    license: str
    license_verbatim: str
    rights_holder: str


def rights(source: SourceSettings, license_text: str = "", holder: str = "") -> Rights:
    """What the row states, else what the source's options state."""
    text = license_text.strip() or source.options.get("license", "")
    return {
        "license": normalize_license(text),
        "license_verbatim": text,
        "rights_holder": holder.strip() or source.options.get("rights_holder", ""),
    }


def license_text(*texts: str) -> str:
    """The first of the texts, or all that state a licence where a later one states another: the strictest then applies."""
    first, *others = [text for text in dict.fromkeys(map(str.strip, texts)) if text] or [""]
    stated = normalize_license(first)
    return " | ".join([first, *(text for text in others if normalize_license(text) not in {stated, OTHER, ""})])


class MediaBase:
    """Turns a file's path, as the provider writes it, into a media URL; raises ArchiveError if a local root does not exist."""

    def __init__(self, source: SourceSettings) -> None:
        images = source.options.get("images", "")
        self._remote = images.rstrip("/") if "://" in images else ""
        if not self._remote and not (root := media_root(source)).exists():
            raise ArchiveError(f"source {source.name!r}: options.images {str(root)!r} does not exist; correct the setting.")

    def url(self, path: str) -> str:
        """The URL of a path below the base, with or without a leading slash; an address stays as it is.

        Raises LocalMediaError (`unsafe_path`) for a path that would leave the base.
        """
        if "://" in path:
            return path
        local = local_url(path.removeprefix("./").removeprefix("/"))
        return f"{self._remote}/{local.partition(':')[2]}" if self._remote else local
