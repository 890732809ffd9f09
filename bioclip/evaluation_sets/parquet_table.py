"""Parquet tables of images: encoded images in a column `image`, or paths, hashes or ids."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bioclip.errors import SettingsError
from bioclip.evaluation_sets.set_format import Listing, SetFormat
from bioclip.evaluation_sets.table_columns import check_known, choose_columns, table_listing
from bioclip.settings import EvaluationSetSettings

_MAGIC = b"PAR1"


def _is_parquet(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(len(_MAGIC)) == _MAGIC


def _read(settings: EvaluationSetSettings, path: Path) -> Listing:
    """A column `image` of bytes, or of structs with `bytes` and `path` as Hugging Face datasets have it, holds the images."""
    try:
        schema = pq.read_schema(path)
        images = _image_column(schema)
        texts = [name for name in schema.names if name != images]
        chosen = choose_columns(texts, settings)
        if not images:
            if "path" not in chosen and "image" in texts and pa.types.is_string(schema.field("image").type):
                chosen["path"] = "image"
            check_known(chosen, schema.names, settings)
        table = pq.read_table(path, columns=list(dict.fromkeys(chosen.values())))
        num_rows = pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError) as error:
        raise SettingsError(f"evaluation set {str(path)!r} cannot be read as a Parquet table: {' '.join(str(error).split())}.") from None
    ours = {name: table[column] for name, column in chosen.items()} or {"record_id": pa.nulls(num_rows, pa.string())}
    cells = {"image": [path.name] * num_rows, "row": range(num_rows), "column": [images] * num_rows} if images else {}
    return table_listing(pa.table(ours), settings, path, cells)


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
