"""From the columns of anybody's table to those of an evaluation set."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import compute as pc

from bioclip.delimited.headers import find_column, match_columns
from bioclip.errors import SettingsError
from bioclip.evaluation_sets.evaluation_set import ATTRIBUTES
from bioclip.evaluation_sets.set_format import Listing, image_root, preferred_split
from bioclip.settings import EvaluationSetSettings

RANK_COLUMNS = ("kingdom", "phylum", "class", "order", "family", "genus")
SETTABLE = (
    "record_id", "path", "label", "scientific_name", *RANK_COLUMNS, "species", "common_name", "sha256", "pixel_sha256", "phash", "is_flat",
    "source_occurrence", "occurrence_id", "observer", "event_date", "source", "license", "subset",
    *ATTRIBUTES,
)  # fmt: skip
"""What the setting `columns` may name."""
_PREFERRED_SHA256 = "original_sha256"
"""Preferred to `sha256`, which in our own image tables is of the stored bytes."""
_TYPED = {"phash", "is_flat"}
PATH_COLUMN = "path made of columns"
"""Column of the paths that `settings.image_path` gives."""


def choose_columns(there: Sequence[str], settings: EvaluationSetSettings) -> dict[str, str]:
    """Our column -> theirs, stated ones first; raises SettingsError for a column that neither side has, and where none is known."""
    for name, column in settings.columns.items():
        if name not in SETTABLE or column not in there:
            what = f"{name!r} is no column of an evaluation set" if name not in SETTABLE else f"column {column!r} is not in the table"
            raise SettingsError(
                f"evaluation set {settings.name!r}: {what}; known: {', '.join(SETTABLE if name not in SETTABLE else there)}."
            )
    made = {"path": PATH_COLUMN} if PATH_COLUMN in there else {}
    chosen = _class_columns(there) | made | dict(settings.columns)
    free = [column for column in there if column not in chosen.values()]
    if "sha256" not in chosen and (preferred := find_column(free, _PREFERRED_SHA256)):
        chosen["sha256"] = preferred
        free.remove(preferred)
    return chosen | match_columns(free, [name for name in SETTABLE if name not in chosen])


def _class_columns(there: Sequence[str]) -> dict[str, str]:
    """The meaning of a column `class`: BioCLIP's tables have `cls` for the rank and `class` for the label, and so has a table without
    any other rank."""
    if "class" not in there or find_column(there, "label"):
        return {}
    if "cls" in there:
        return {"class": "cls", "label": "class"}
    others = [rank for rank in RANK_COLUMNS if rank != "class"]
    return {} if any(find_column(there, rank) for rank in others) else {"label": "class"}


def rows_of(table: pa.Table, settings: EvaluationSetSettings) -> tuple[pa.Table, int]:
    """(the rows of the split that the settings name, the number of others), with a column `path` by `settings.image_path`.

    Raises SettingsError for a split or a column that the table does not have.
    """
    num_rows = table.num_rows
    if settings.split and (column := find_column(table.column_names, "split")):
        known = [str(value) for value in pc.unique(table[column]).to_pylist() if value is not None]
        if not (split := preferred_split(known, settings.split)):
            raise SettingsError(f"evaluation set {settings.name!r} has no split {settings.split!r}; known: {', '.join(sorted(known))}.")
        table = table.filter(pc.equal(pc.cast(table[column], pa.string()), split))
    if settings.image_path:
        try:
            cells = ({name: _Cell(value) for name, value in row.items()} for row in table.to_pylist())
            paths = [settings.image_path.format(*row.values(), **row) for row in cells]
        except (KeyError, ValueError, IndexError) as error:
            raise SettingsError(
                f"evaluation set {settings.name!r}: image_path {settings.image_path!r} cannot be filled ({error}); known columns: "
                f"{', '.join(table.column_names)}."
            ) from None
        table = table.append_column(PATH_COLUMN, pa.array(paths, pa.string()))
    return table, num_rows - table.num_rows


class _Cell(str):
    """A value in `image_path`; `{column:name}` is the last part of a path."""

    def __new__(cls, value: object) -> _Cell:
        return super().__new__(cls, "" if value is None else str(value))

    def __format__(self, spec: str) -> str:
        if spec not in {"", "name"}:
            raise ValueError(f"format {spec!r} is unknown, only `name` is")
        return self.rpartition("/")[2] if spec == "name" else str(self)


def check_known(chosen: Mapping[str, str], there: Sequence[str], settings: EvaluationSetSettings) -> None:
    """Raises SettingsError where nothing but an id is known of the items."""
    if not set(chosen) - {"record_id"}:
        raise SettingsError(
            f"evaluation set {settings.name!r} has no column that is known among {', '.join(there[:12])}; name them in its `columns`, "
            "e.g. {path: file_name, scientific_name: label}."
        )


def table_listing(
    table: pa.Table, settings: EvaluationSetSettings, path: Path, image: Mapping[str, Sequence[Any]], num_elsewhere: int = 0
) -> Listing:
    """The items of `table`, whose columns are ours; `image` are further columns that locate the images of a table that holds them.

    `num_elsewhere` rows of other splits are left out.
    """
    columns = {name: table[name].to_pylist() for name in table.column_names}
    for name in set(columns) - _TYPED:
        columns[name] = [None if value is None or str(value).strip() == "" else str(value).strip() for value in columns[name]]
    if "phash" in columns:
        columns["phash"] = [_parsed_hash(value) for value in columns["phash"]]
    if "is_flat" in columns:
        columns["is_flat"] = [_parsed_flag(value) for value in columns["is_flat"]]
    paths = columns.pop("path", None)
    ids = columns.pop("record_id", None) or paths or [None] * table.num_rows
    columns["item_id"] = [value or f"row {row}" for row, value in enumerate(ids, start=1)]
    root = str(image_root(settings, path))
    if image:
        columns |= {name: list(values) for name, values in image.items()}
        root = str(path.parent)
    elif paths is not None:
        root, columns["image"] = _below_root(paths, root, bool(settings.images))
    return Listing(columns, root, (path,), notes={"rows_of_other_splits": num_elsewhere})


def _below_root(paths: Sequence[str | None], root: str, is_stated: bool) -> tuple[str, list[str | None]]:
    """(root, paths below it). Absolute paths throughout have their common folder as root, unless the settings state one."""
    known = [path for path in paths if path]
    if known and not is_stated and all(Path(path).is_absolute() for path in known):
        root = os.path.commonpath([str(Path(path).parent) for path in known])
    return root, [path.removeprefix(f"{Path(root).as_posix()}/") if path else None for path in paths]


def _parsed_hash(value: Any) -> int | None:
    """A pHash as an integer, or as imagehash writes it: 16 hexadecimal digits."""
    try:
        if value is None or isinstance(value, int):
            return value
        return int(value, 16 if len(value) == 16 else 10) if value else None
    except ValueError:
        raise SettingsError(f"pHash {value!r} is neither an integer nor 16 hexadecimal digits; correct the table or its columns.") from None


def _parsed_flag(value: Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    return {"true": True, "1": True, "false": False, "0": False}.get(str(value).strip().lower())
