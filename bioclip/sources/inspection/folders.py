"""Which level of a folder's folders names the classes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from bioclip.sources.formats.folder import walk_files
from bioclip.sources.inspection.guess import NO_LICENSE, GuessedSource
from bioclip.sources.parsing.media_urls import is_image_name

_NUM_IMAGES = 20_000
_SPLIT = re.compile(r"(train|training|val|valid|validation|test|testing|dev|eval|images?|photos?|photographs|pictures|data)", re.IGNORECASE)
_GENUS, _EPITHET = re.compile(r"[A-Z][a-z-]+"), re.compile(r"[a-z][a-z-]+")
_BINOMIAL = re.compile(r"[A-Z][a-z]+[ _][a-z-]{2,}.*")
_INAT21 = re.compile(r"\d+(_[^_]+){6}_.+")


def image_folders(root: Path) -> list[tuple[str, ...]]:
    """The folders, from `root` down, of its first images; those without a folder are left out."""
    paths = (PurePosixPath(path) for path in walk_files(root) if isinstance(path, str) and is_image_name(path))
    found = (path.parts[:-1] for path, _ in zip(paths, range(_NUM_IMAGES), strict=False))
    return sorted({folders for folders in found if folders})


def class_folder_options(folders: Sequence[tuple[str, ...]]) -> GuessedSource:
    """The guess for the images of `folders`."""
    tops, deepest = [one[0] for one in folders], min(len(one) for one in folders)
    if _share([part for one in folders for part in one if _INAT21.fullmatch(part)], len(folders)) > 0.5:
        return GuessedSource("inat21_folder", remarks=(NO_LICENSE,))
    skipped = next((level for level in range(deepest) if not _is_above(folders, level)), deepest - 1)
    below = [one[skipped + 1] for one in folders if len(one) > skipped + 1]
    levels = ["-"] * skipped
    if len(below) == len(folders) and _all(_GENUS, [one[skipped] for one in folders]) and _all(_EPITHET, below):
        levels += ["genus", "specific_epithet"]
    elif levels:
        levels.append("scientific_name")
    remarks = [NO_LICENSE]
    if below and len(levels) < 2:
        remarks.insert(0, f"The folders below {tops[0]!r} and the others are no classes; set options.levels if they are.")
    return GuessedSource("folder", {"levels": "/".join(levels)} if levels else {}, remarks=tuple(remarks))


def _is_above(folders: Sequence[tuple[str, ...]], level: int) -> bool:
    """True where the folders of a level name splits, one collection or higher taxa, and those below them the classes."""
    if any(len(one) <= level + 1 for one in folders):
        return False
    names, below = {one[level] for one in folders}, [one[level + 1] for one in folders]
    is_one = len(names) == 1 and len(set(below)) > 1
    is_split = all(_SPLIT.fullmatch(name) for name in names)
    is_taxon = _share([name for name in below if _BINOMIAL.fullmatch(name)], len(below)) >= 0.5
    return is_one or is_split or (is_taxon and not any(_BINOMIAL.fullmatch(name) for name in names))


def _share(found: Sequence[str], number: int) -> float:
    return len(found) / number if number else 0.0


def _all(pattern: re.Pattern[str], names: Sequence[str]) -> bool:
    return all(pattern.fullmatch(name) for name in names)
