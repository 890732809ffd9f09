"""CSV and TSV tables of images: paths, hashes or ids, with a header."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv

from bioclip.errors import SettingsError
from bioclip.evaluation_sets.set_format import Listing, SetFormat
from bioclip.evaluation_sets.table_columns import check_known, choose_columns, table_listing
from bioclip.settings import EvaluationSetSettings

_SAMPLE_BYTES = 4096


def _is_text(path: Path) -> bool:
    with path.open("rb") as stream:
        return b"\0" not in stream.read(_SAMPLE_BYTES)


def _first_line(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.readline(_SAMPLE_BYTES)


def _is_tsv(path: Path) -> bool:
    """Text whose header has a tab."""
    return path.is_file() and _is_text(path) and b"\t" in _first_line(path)


def _is_csv(path: Path) -> bool:
    """Any other text: a table of one column has no delimiter."""
    return path.is_file() and _is_text(path)


def _read_csv(settings: EvaluationSetSettings, path: Path) -> Listing:
    return _read(settings, path, ",")


def _read_tsv(settings: EvaluationSetSettings, path: Path) -> Listing:
    return _read(settings, path, "\t")


def _read(settings: EvaluationSetSettings, path: Path, delimiter: str) -> Listing:
    parse = pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    try:
        with pacsv.open_csv(path, parse_options=parse) as reader:
            names: list[str] = reader.schema.names
        convert = pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True)
        table = pacsv.read_csv(path, parse_options=parse, convert_options=convert)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"evaluation set {str(path)!r} cannot be read as a table: {' '.join(str(error).split())}.") from None
    chosen = choose_columns(table.column_names, settings)
    check_known(chosen, table.column_names, settings)
    ours = pa.table([table[column] for column in chosen.values()], names=list(chosen))
    return table_listing(ours, settings, path, {})


TSV = SetFormat(_is_tsv, _read_tsv, (".csv", ".tsv", ".txt"))
CSV = SetFormat(_is_csv, _read_csv, (".csv", ".tsv", ".txt"))
