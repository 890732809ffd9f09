"""Guessing the format and the options of a source from what is at a path: a start for a settings file, which its user corrects."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path, PurePosixPath

from bioclip.delimited.content import suffix_of
from bioclip.errors import ArchiveError
from bioclip.sources.inspection.folders import class_folder_options, image_folders
from bioclip.sources.inspection.guess import NO_LICENSE, GuessedSource
from bioclip.sources.inspection.guessed_columns import TABLES, guess_table
from bioclip.sources.inspection.text_files import is_list_of_addresses
from bioclip.sources.parsing.media_urls import is_image_name

__all__ = ["GuessedSource", "guess_source"]

_WORKBOOKS = frozenset({".xlsx", ".xls", ".ods", ".numbers"})
_NUM_MEMBERS = 100


def guess_source(path: Path) -> GuessedSource:
    """Guess by names, headers and first rows; raises ArchiveError where nothing is recognised, with what to do instead."""
    if not path.exists():
        raise ArchiveError(f"{str(path)!r} does not exist; name a folder of images, a table or an archive.")
    if path.is_dir():
        return _guess_folder(path)
    if path.suffix.lower() in _WORKBOOKS:
        raise ArchiveError(f"{str(path)!r} is a workbook; save its sheet as CSV and name that file.")
    if zipfile.is_zipfile(path):
        return _guess_zip(path)
    if path.suffix.lower() == ".tar" or (suffix_of(path) not in TABLES and tarfile.is_tarfile(path)):
        return _guess_tar(path)
    if suffix_of(path) in TABLES or not is_list_of_addresses(path):
        return guess_table(path)
    return GuessedSource("table", remarks=("The file is read as a list of addresses, one a line, without names.",))


def _guess_zip(path: Path) -> GuessedSource:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(PurePosixPath(name).name == "meta.xml" for name in names):
        return GuessedSource("dwca")
    if any(is_image_name(name) for name in names):
        raise ArchiveError(f"{str(path)!r} is a zip of images without a meta.xml; unpack it and name the folder.")
    if sum(PurePosixPath(name).suffix.lower() in TABLES for name in names) == 1:
        return guess_table(path)
    raise _unknown(path)


def _guess_tar(path: Path) -> GuessedSource:
    try:
        with tarfile.open(path) as tar:
            names = [member.name for member, _ in zip(tar, range(_NUM_MEMBERS), strict=False) if member.isfile()]
    except (tarfile.TarError, OSError) as error:
        raise ArchiveError(f"{str(path)!r} is not a complete tar ({error}); download it again.") from None
    if any(PurePosixPath(name).suffix.lower() in {".json", ".txt", ".cls"} for name in names) and path.suffix.lower() == ".tar":
        remark = "The fields are those of the JSON members that have a field's name; options.map maps others, e.g. label=caption."
        return GuessedSource("webdataset", remarks=(remark, NO_LICENSE))
    raise ArchiveError(f"{str(path)!r} is a tar that is no WebDataset (images with .json, .txt or .cls beside them); unpack it.")


def _guess_folder(folder: Path) -> GuessedSource:
    if (folder / "meta.xml").exists():
        return GuessedSource("dwca")
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    tables = [entry for entry in entries if suffix_of(entry) in TABLES and entry.is_file()]
    if tables and (guess := _usable_table(folder, tables[0])):
        return guess
    if found := image_folders(folder):
        return class_folder_options(found)
    if tables:
        return guess_table(tables[0])
    if any(entry.suffix.lower() == ".tar" for entry in entries):
        return _guess_tar(next(entry for entry in entries if entry.suffix.lower() == ".tar"))
    if archives := [entry for entry in entries if entry.is_file() and zipfile.is_zipfile(entry)]:
        raise ArchiveError(f"{str(folder)!r} holds archives; name one of them, e.g. {str(archives[0])!r}.")
    if num_images := sum(is_image_name(entry.name) for entry in entries):
        raise ArchiveError(
            f"{str(folder)!r} holds {num_images:,} images and no folders of classes; put the images of each class into a folder with its "
            "name, or name a table with their file names and labels."
        )
    raise ArchiveError(f"{str(folder)!r} has neither a meta.xml, nor folders with images, nor a table.")


def _usable_table(folder: Path, table: Path) -> GuessedSource | None:
    """The guess at a table that names images of its folder; None if it does not."""
    try:
        guess = guess_table(table)
    except ArchiveError:
        return None
    is_of_images = "images" in guess.options and "media_url=" in guess.options.get("map", "")
    return guess if is_of_images and ("label=" in guess.options["map"] or "scientific_name=" in guess.options["map"]) else None


def _unknown(path: Path) -> ArchiveError:
    return ArchiveError(f"{str(path)!r} is not recognised; write its settings by hand, with a format of docs/reference/formats.md.")
