"""Parquet tables of images: encoded images in a column `image`, or paths, hashes or ids."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bioclip.delimited.headers import find_column
from bioclip.errors import SettingsError
from bioclip.evaluation_sets.set_format import Listing, SetFormat
from bioclip.evaluation_sets.table_columns import check_known, choose_columns, rows_of, table_listing
from bioclip.settings import EvaluationSetSettings

_MAGIC = b"PAR1"
_ROW = "row of the file"
"""Column of the rows' numbers, so that a cell is found after rows are left out."""


def _is_parquet(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(len(_MAGIC)) == _MAGIC


def _read(settings: EvaluationSetSettings, path: Path) -> Listing:
    """A column `image` of bytes, or of structs with `bytes` and `path` as Hugging Face datasets have it, holds the images.

    Numbers of a column that the schema of Hugging Face declares as ClassLabel become the names of their classes.
    """
    try:
        schema = pq.read_schema(path)
        images = _image_column(schema)
        texts = [name for name in schema.names if name != images]
        wanted = texts if settings.image_path else [*choose_columns(texts, settings).values(), find_column(texts, "split")]
        if not images and "image" in texts and pa.types.is_string(schema.field("image").type):
            wanted.append("image")
        table = pq.read_table(path, columns=[name for name in dict.fromkeys(wanted) if name])
        table = table.append_column(_ROW, pa.array(range(pq.read_metadata(path).num_rows), pa.int64()))
    except (pa.ArrowException, OSError) as error:
        raise SettingsError(f"evaluation set {str(path)!r} cannot be read as a Parquet table: {' '.join(str(error).split())}.") from None
    table, num_elsewhere = rows_of(table, settings)
    rows, table = table[_ROW].to_pylist(), table.drop_columns([_ROW])
    chosen = choose_columns(table.column_names, settings)
    if not images:
        if "path" not in chosen and "image" in table.column_names:
            chosen["path"] = "image"
        check_known(chosen, schema.names, settings)
    names = _class_names(schema)
    ours = {ours: _named(table[column], names.get(column)) for ours, column in chosen.items()} or {
        "record_id": pa.nulls(len(rows), pa.string())
    }
    cells = {"image": [path.name] * len(rows), "row": rows, "column": [images] * len(rows)} if images else {}
    listing = table_listing(pa.table(ours), settings, path, cells, num_elsewhere)
    return replace(listing, classes=tuple(dict.fromkeys(names.get(chosen.get("label", ""), ()))))


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Column -> names of its ClassLabel, from the metadata that `datasets` writes; columns of other types are left out."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    except ValueError:
        return {}
    return {name: list(one["names"]) for name, one in features.items() if isinstance(one, dict) and one.get("_type") == "ClassLabel"}


def _named(column: pa.ChunkedArray, names: list[str] | None) -> pa.ChunkedArray:
    """Numbers as the names of their classes; -1 is none, as in `datasets`."""
    if names is None or not pa.types.is_integer(column.type):
        return column
    values = [names[value] if value is not None and 0 <= value < len(names) else None for value in column.to_pylist()]
    return pa.chunked_array([pa.array(values, pa.string())])


def _image_column(schema: pa.Schema) -> str:
    """Name of the column that holds encoded images, or nothing."""
    for field in schema:
        kind = field.type
        if field.name == "image" and (
            pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or (pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0)
        ):
            return "image"
    return ""


FORMAT = SetFormat(_is_parquet, _read, (".parquet",))
