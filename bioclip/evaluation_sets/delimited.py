"""CSV and TSV tables of images: paths, hashes or ids, with a header."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from pyarrow import compute as pc

from bioclip.delimited.dialects import Dialect
from bioclip.delimited.headed import open_headed
from bioclip.delimited.reading import Column
from bioclip.errors import ArchiveError, SettingsError
from bioclip.evaluation_sets.set_format import Listing, SetFormat
from bioclip.evaluation_sets.table_columns import check_known, choose_columns, rows_of, table_listing
from bioclip.settings import EvaluationSetSettings

_SAMPLE_BYTES = 4096
_NULLS = pa.array(["", "NA", "N/A", "NULL", "null", "NaN", "nan", "#N/A", "\\N"])
"""Texts of cells without a value."""


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
    try:
        with path.open("rb") as stream:
            text = open_headed(stream, f"evaluation set {str(path)!r}", Dialect(delimiter, is_usual=True))
            parts = [*text.tables({name: Column(place) for place, name in enumerate(text.header)})]
    except ArchiveError as error:
        raise SettingsError(str(error)) from None
    except OSError as error:
        raise SettingsError(f"evaluation set {str(path)!r} cannot be read: {error}.") from None
    table = pa.concat_tables([pa.table({name: pa.array([], pa.string()) for name in text.header}), *parts])
    table = pa.table({name: pc.if_else(pc.is_in(table[name], _NULLS), None, table[name]) for name in table.column_names})
    return text_listing(table, settings, path)


def text_listing(table: pa.Table, settings: EvaluationSetSettings, path: Path) -> Listing:
    """The items of a table of texts read from `path`; raises SettingsError where no column is known."""
    table, num_elsewhere = rows_of(table, settings)
    chosen = choose_columns(table.column_names, settings)
    check_known(chosen, table.column_names, settings)
    ours = pa.table([table[column] for column in chosen.values()], names=list(chosen))
    return table_listing(ours, settings, path, {}, num_elsewhere)


TSV = SetFormat(_is_tsv, _read_tsv, (".csv", ".tsv", ".txt"))
CSV = SetFormat(_is_csv, _read_csv, (".csv", ".tsv", ".txt"))
