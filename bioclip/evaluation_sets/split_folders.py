"""Folders with a table of their images, or with one folder per split, as Hugging Face's `imagefolder` builder reads them.

`metadata.csv` or `metadata.jsonl` (column `file_name`, or `filepath` as in BioCLIP's tables), or `<split>/<class>/<file>`.
Format: https://huggingface.co/docs/datasets/image_dataset
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa

from bioclip.errors import SettingsError
from bioclip.evaluation_sets import delimited, folder
from bioclip.evaluation_sets.set_format import PREFERRED_SPLITS, Listing, SetFormat, preferred_split
from bioclip.settings import EvaluationSetSettings

_TABLES = ("metadata.csv", "metadata.jsonl")


def split_folders(path: Path) -> list[str]:
    """Names of the folders in `path` that are splits; empty where another folder is among them."""
    names = sorted(one.name for one in path.iterdir() if one.is_dir() and not one.name.startswith("."))
    return names if all(name.lower() in PREFERRED_SPLITS for name in names) else []


def _table_of(path: Path) -> Path | None:
    return next((path / name for name in _TABLES if (path / name).is_file()), None)


def _matches(path: Path) -> bool:
    return path.is_dir() and (_table_of(path) is not None or bool(split_folders(path)))


def _read(settings: EvaluationSetSettings, path: Path) -> Listing:
    """The items of one split; files of the others are not counted. Raises SettingsError for a split that is not there."""
    part = path
    if _table_of(path) is None:
        names = split_folders(path)
        if not (chosen := preferred_split(names, settings.split)):
            raise SettingsError(f"evaluation set {settings.name!r} has no split {settings.split!r}; known: {', '.join(names)}.")
        part = path / chosen
    if (table := _table_of(part)) is None:
        return folder.FORMAT.read(settings, part)
    whole = settings if table.parent == path else settings.model_copy(update={"split": ""})
    if table.suffix == ".csv":
        return delimited.CSV.read(whole, table)
    return delimited.text_listing(_read_lines(settings, table), whole, table)


def _read_lines(settings: EvaluationSetSettings, path: Path) -> pa.Table:
    """One JSON object a line as a table of texts; values that are objects or lists are left out."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise SettingsError(f"evaluation set {settings.name!r}: {str(path)!r}, line {number} is no JSON object; correct the line.")
        rows.append({name: str(value) for name, value in row.items() if isinstance(value, str | int | float)})
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: pa.array([row.get(name) for row in rows], pa.string()) for name in names})


FORMAT = SetFormat(_matches, _read)
