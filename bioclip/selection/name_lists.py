"""Users' own files of names: lists to hold out and texts about species, resolved to accepted names by the release's backbones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path

import pyarrow.compute as pc

from bioclip.delimited.dialects import Dialect
from bioclip.delimited.headers import find_column
from bioclip.delimited.reading import DelimitedTable
from bioclip.digests import digest_path, digest_value
from bioclip.errors import ArchiveError, SettingsError
from bioclip.partitions import read_stage
from bioclip.settings import TaxonomySettings, meaningful
from bioclip.storage import Storage, explain_user_file
from bioclip.taxonomy.matching.batch_resolve import resolve_table
from bioclip.taxonomy.matching.curation import read_curation
from bioclip.taxonomy.matching.decision_table import lineage_columns
from bioclip.taxonomy.matching.decisions import VerbatimLineage
from bioclip.taxonomy.stage import load_indexes

NAME_COLUMNS = ("scientificName", "scientific_name", "species")
_KINGDOM_COLUMNS = ("kingdomName", "kingdom")


def read_named_rows(path: str, setting: str) -> list[dict[str, str]]:
    """Rows of a UTF-8 file, each with `name` and, in a table, its columns; blank lines and lines that begin with `#` are ignored.

    A file whose first line has a column of NAME_COLUMNS is a CSV or (with suffix .tsv) TSV; any other has one name per line. Raises
    SettingsError that names `setting`, also for a file without any name.
    """
    try:
        data = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise SettingsError(explain_user_file(error, setting, path)) from None
    try:
        dialect = Dialect("\t" if Path(path).suffix.lower() == ".tsv" else ",")
        table = DelimitedTable(BytesIO(data), f"{setting} {path!r}", dialect, is_padded=True)
        column = next((found for name in ("scientific_name", "species") if (found := find_column(table.header, name))), "")
        if not column:
            lines = DelimitedTable(BytesIO(data), f"{setting} {path!r}", Dialect("\x1f", quote=""), num_header_lines=0)
            names = [" ".join(values[0].split()) for _, values in lines.rows()]
            return _not_empty([{"name": name} for name in names if name and not name.startswith("#")], path, setting)
        rows = [row for _, row in table.records()]
    except ArchiveError as error:
        raise SettingsError(str(error)) from None
    named = [{**row, "name": " ".join(row[column].split())} for row in rows]
    return _not_empty([row for row in named if row["name"]], path, setting)


def _not_empty(rows: list[dict[str, str]], path: str, setting: str) -> list[dict[str, str]]:
    if not rows:
        raise SettingsError(f"{setting} {path!r} has no names: it is empty or has only comments; fill it, or leave the setting empty.")
    return rows


def names_digest(storage: Storage, taxonomy: TaxonomySettings) -> str:
    """Digest of everything that determines `accepted_species`. Raises SettingsError and StorageError."""
    return digest_value(
        [meaningful(taxonomy), read_stage(storage, "backbones").digest, file_digest(taxonomy.curation, "taxonomy.curation")]
    )


def file_digest(path: str, setting: str) -> str:
    """SHA-256 of a user's file, '' of an empty path; raises SettingsError that names the setting."""
    try:
        return digest_path(Path(path).expanduser()) if path else ""
    except OSError as error:
        raise SettingsError(explain_user_file(error, setting, path)) from None


def accepted_species(rows: Sequence[Mapping[str, str]], storage: Storage, taxonomy: TaxonomySettings) -> list[str]:
    """The accepted binomial of each row's `name`, '' if the backbones have no such species; resolved like the names of images."""
    if not rows:
        return []
    indexes = load_indexes(storage, taxonomy)
    curation = read_curation(Path(taxonomy.curation), indexes, taxonomy) if taxonomy.curation else None
    names = [VerbatimLineage(scientific_name=row["name"], kingdom=_first(row, _KINGDOM_COLUMNS).capitalize()) for row in rows]
    decisions = resolve_table(lineage_columns(names), indexes, taxonomy, curation)
    return pc.if_else(pc.equal(decisions["resolved_rank"], "species"), decisions["species"], "").to_pylist()  # type: ignore[no-any-return]


def _first(row: Mapping[str, str], columns: Iterable[str]) -> str:
    return next((row[column] for column in columns if row.get(column)), "")
