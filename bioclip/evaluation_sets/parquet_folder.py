"""Folders of Parquet files, as Hugging Face stores datasets: `data/<split>-00000-of-00003.parquet`, with class names in the schema.

Format: https://huggingface.co/docs/hub/datasets-file-names-and-splits
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from bioclip.errors import SettingsError
from bioclip.evaluation_sets import parquet_table
from bioclip.evaluation_sets.set_format import Listing, SetFormat, preferred_split
from bioclip.settings import EvaluationSetSettings


def _files(path: Path) -> list[Path]:
    """Parquet files in the folder or in its `data`, in order of name."""
    return sorted([*path.glob("*.parquet"), *path.glob("data/*.parquet")])


def _split_of(file: Path) -> str:
    return file.stem.partition("-")[0].partition(".")[0]


def _matches(path: Path) -> bool:
    return path.is_dir() and bool(_files(path))


def _read(settings: EvaluationSetSettings, path: Path) -> Listing:
    """The rows of all files of one split; files whose names are no split are read together, unless a split is wanted."""
    files = _files(path)
    split = preferred_split({_split_of(file) for file in files}, settings.split)
    if settings.split and not split:
        known = ", ".join(sorted({_split_of(file) for file in files}))
        raise SettingsError(f"evaluation set {settings.name!r} has no split {settings.split!r}; files are named {known}.")
    chosen = [file for file in files if not split or _split_of(file) == split]
    columns: dict[str, list[Any]] = {}
    notes: Counter[str] = Counter(files_of_other_splits=len(files) - len(chosen))
    classes: dict[str, None] = {}
    num_rows = 0
    for file in chosen:
        listing = parquet_table.FORMAT.read(settings.model_copy(update={"split": ""}), file)
        found = {name: list(values) for name, values in listing.columns.items()}
        found["item_id"] = [f"{file.stem}/{item_id}" for item_id in found["item_id"]]
        if "row" in found:
            found["image"] = [file.relative_to(path).as_posix()] * len(found["row"])
        length = len(found["item_id"])
        for name in {*columns, *found}:
            columns.setdefault(name, [None] * num_rows).extend(found.get(name, [None] * length))
        num_rows += length
        notes.update(listing.notes)
        classes |= dict.fromkeys(listing.classes)
    return Listing(columns, str(path), tuple(chosen), notes=dict(notes), classes=tuple(classes))


FORMAT = SetFormat(_matches, _read)
