"""A folder of images whose subfolders name the taxa: `<name>/<file>`, or deeper with `options.levels`.

`levels` names the field that each level of folders fills, from the top, `-` for none: `kingdom/family/scientific_name`. By default the
top folder is the scientific name, as in torchvision's ImageFolder, and deeper folders are part of it. That folder is also the label: where
no backbone knows the name, the images keep it as their class (`taxonomy.keep_labels`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from bioclip.errors import ArchiveError, SettingsError
from bioclip.local_media import LocalMediaError
from bioclip.records import VERBATIM_NAME_COLUMNS, Record
from bioclip.settings import SourceSettings
from bioclip.sources.contract import Dropped, SourceFormat
from bioclip.sources.parsing.defaults import MEDIA_OPTIONS, RIGHTS_OPTIONS, MediaBase, rights
from bioclip.sources.parsing.media_urls import IMAGE_SUFFIXES

_LEVELS = {name.rstrip("_"): name for name in VERBATIM_NAME_COLUMNS} | {"-": ""}


def read(source: SourceSettings) -> Iterator[Record | Dropped]:
    """Stream one record per image file, in order of path; memory is the longest listing of one folder on each level."""
    levels, base = _levels(source), MediaBase(source)
    stated = rights(source)
    for path in walk_files(Path(source.path)):
        if isinstance(path, Dropped):
            yield path
            continue
        folders = PurePosixPath(path).parts[:-1]
        if len(folders) < len(levels):
            yield Dropped("not_in_a_class_folder")
            continue
        names = label_folders({field: folder for field, folder in zip(levels, folders, strict=False) if field})
        try:
            yield Record(source=source.name, source_id=path, media_url=base.url(path), **stated, **names)
        except LocalMediaError as error:
            yield Dropped(error.reason)


FORMAT = SourceFormat(read, options=frozenset({"levels"}) | MEDIA_OPTIONS | RIGHTS_OPTIONS, local_media=True)


def walk_files(root: Path) -> Iterator[str | Dropped]:
    """Relative paths of a folder's images with `/`, in order; links and other files come as Dropped. Raises ArchiveError."""
    if not root.is_dir():
        raise ArchiveError(f"{str(root)!r} is not a folder; this format reads folders of images (unpack an archive first).")
    yield from _walk(root, "")


def _walk(folder: Path, prefix: str) -> Iterator[str | Dropped]:
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        raise ArchiveError(f"{str(folder)!r} cannot be listed: {error.strerror}; correct its permissions.") from None
    for entry in entries:
        if not entry.name.isprintable():
            yield Dropped("unprintable_file_name")
        elif entry.is_symlink():
            yield Dropped("symbolic_link")
        elif entry.is_dir():
            yield from _walk(folder / entry.name, f"{prefix}{entry.name}/")
        elif PurePosixPath(entry.name).suffix.lower() not in IMAGE_SUFFIXES or entry.name.startswith("."):
            yield Dropped("not_an_image_file")
        else:
            yield prefix + entry.name


def label_folders(names: dict[str, str]) -> dict[str, Any]:
    """`names` with a label: the folder of the scientific name, else the binomial of genus and epithet, else the deepest named folder."""
    binomial = f"{names['genus']} {names['specific_epithet']}" if {"genus", "specific_epithet"} <= names.keys() else ""
    label = names.get("label") or names.get("scientific_name") or binomial or next(reversed(names.values()), "")
    known = names if names.keys() & {"scientific_name", "genus"} else {**names, "scientific_name": label}
    return {**known, "label": label}


def _levels(source: SourceSettings) -> list[str]:
    names = source.options.get("levels", "scientific_name").split("/")
    if unknown := [name for name in names if name not in _LEVELS]:
        known = ", ".join(sorted(_LEVELS))
        raise SettingsError(f"source {source.name!r}: options.levels names {unknown[0]!r}; known: {known}.")
    return [_LEVELS[name] for name in names]
