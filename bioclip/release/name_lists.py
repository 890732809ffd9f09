"""Users' own files of names: lists to hold out and texts about species, brought to accepted names by the release's backbones."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bioclip.errors import SettingsError
from bioclip.release.evaluation_sets import load_indexes
from bioclip.settings import TaxonomySettings
from bioclip.storage import Storage, explain_os_error
from bioclip.taxonomy.matching import resolve_lineages
from bioclip.taxonomy.resolutions import VerbatimLineage

NAME_COLUMNS = ("scientificName", "scientific_name", "species")
_KINGDOM_COLUMNS = ("kingdomName", "kingdom")


def read_named_rows(path: str, setting: str) -> list[dict[str, str]]:
    """Rows of a UTF-8 file, each with `name` and, in a table, its columns; blank lines and lines that begin with `#` say nothing.

    A file whose first line has a column of NAME_COLUMNS is a CSV or (with suffix .tsv) TSV; any other has one name a line. Raises
    SettingsError that names `setting`.
    """
    try:
        lines = Path(path).expanduser().read_text(encoding="utf-8-sig").splitlines(keepends=True)
        delimiter = "\t" if Path(path).suffix.lower() == ".tsv" else ","
        header = next(csv.reader(lines[:1], delimiter=delimiter), [])
        column = next((name for name in NAME_COLUMNS if name in header), "")
        if not column:
            names = [" ".join(line.split()) for line in lines]
            return [{"name": name} for name in names if name and not name.startswith("#")]
        rows = list(csv.DictReader(lines, delimiter=delimiter, strict=True, restval=""))
    except OSError as error:
        raise SettingsError(f"{setting}: {explain_os_error(error, path)}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"{setting} {path!r} is not UTF-8 text, CSV or TSV: {error}.") from None
    if wide := next((number for number, row in enumerate(rows, 2) if None in row), 0):
        raise SettingsError(f"{setting} {path!r}, row {wide}: more fields than the header has; quote fields that hold {delimiter!r}.")
    named = [{**row, "name": " ".join(row[column].split())} for row in rows]
    return [row for row in named if row["name"]]


def accepted_species(rows: Sequence[Mapping[str, str]], storage: Storage, taxonomy: TaxonomySettings) -> list[str]:
    """The accepted binomial of each row's `name`, '' where the backbones know no such species; each distinct name is resolved once."""
    indexes = load_indexes(storage, taxonomy)
    names = [VerbatimLineage(scientific_name=row["name"], kingdom=_first(row, _KINGDOM_COLUMNS).capitalize()) for row in rows]
    found = resolve_lineages(names, indexes, taxonomy)
    return [one.lineage[-1] if one.resolved_rank == "species" else "" for one in found]


def _first(row: Mapping[str, str], columns: Iterable[str]) -> str:
    return next((row[column] for column in columns if row.get(column)), "")
