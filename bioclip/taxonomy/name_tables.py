"""Tables of names in, tables of decisions out: what `treeoflife resolve` reads and writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from bioclip.errors import UsageError
from bioclip.records import RANKS
from bioclip.taxonomy.resolutions import MatchType, Resolution, VerbatimLineage

INPUT_COLUMNS = (
    "id", "scientific_name", "authorship", "rank", "code", "kingdom", "phylum", "class", "order", "family", "genus", "species",
    "vernacular_name",
)  # fmt: skip
"""What a table of names may say; at least one column of a name must be there."""
_NAME_COLUMNS = ("scientific_name", *RANKS)
_FIELDS = {
    "scientific_name": "scientific_name", "authorship": "scientific_name_authorship", "rank": "taxon_rank", "kingdom": "kingdom",
    "phylum": "phylum", "class": "class_", "order": "order", "family": "family", "genus": "genus", "species": "specific_epithet",
    "vernacular_name": "vernacular_name",
}  # fmt: skip
_KINGDOM_OF_CODE = {
    "iczn": "Animalia", "zoological": "Animalia", "icn": "Plantae", "icnafp": "Plantae", "botanical": "Plantae", "icnp": "Bacteria",
    "bacterial": "Bacteria", "prokaryotic": "Bacteria", "ictv": "Viruses", "virus": "Viruses", "viral": "Viruses",
}  # fmt: skip
_REASONS = {MatchType.EXACT: "same_name", MatchType.NORMALIZED: "same_name_spelt_otherwise"}
_TEXT_RESULTS = (
    "canonical_name", "match_type", "reason", "matched_id", "matched_name", "accepted_id", "accepted_name", "resolved_rank",
    "infraspecific", "qualifier", "backbone",
)  # fmt: skip
RESULT_COLUMNS = (
    "id", "canonical_name", "match_type", "confidence", "margin", "reason", "matched_id", "matched_name", "accepted_id",
    "accepted_name", "resolved_rank", *RANKS, "infraspecific", "qualifier", "vernacular_name", "backbone", "backbone_digest",
)  # fmt: skip
"""What is written after the input's own columns, which get the prefix `verbatim_`."""


def read_names(path: Path) -> pa.Table:
    """All columns of a .csv, .tsv or .parquet as text, null for empty; raises UsageError for what cannot be read or names nothing."""
    if not path.is_file():
        raise UsageError(f"{str(path)!r} is not there; name a .csv, .tsv or .parquet of names.")
    try:
        table = pq.read_table(path) if path.suffix.lower() == ".parquet" else _read_text(path)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise UsageError(f"{str(path)!r} cannot be read as a table: {' '.join(str(error).split())}.") from None
    if not set(table.column_names) & set(_NAME_COLUMNS):
        known = ", ".join(INPUT_COLUMNS)
        raise UsageError(f"{str(path)!r} has no column of names among {', '.join(table.column_names[:12])}; known: {known}.")
    return pa.table({name: table[name].cast(pa.string()) for name in table.column_names})


def _read_text(path: Path) -> pa.Table:
    parse = pacsv.ParseOptions(delimiter="," if path.suffix.lower() == ".csv" else "\t", newlines_in_values=True)
    with pacsv.open_csv(path, parse_options=parse) as reader:
        names = reader.schema.names
    convert = pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""])
    return pacsv.read_csv(path, parse_options=parse, convert_options=convert)


def lineages_of(names: pa.Table) -> list[VerbatimLineage]:
    """One verbatim lineage a row. A nomenclatural code stands in for a kingdom that is not given."""
    there = {column: names[column].to_pylist() for column in _FIELDS if column in names.column_names}
    codes = names["code"].to_pylist() if "code" in names.column_names else [None] * names.num_rows
    rows = []
    for row in range(names.num_rows):
        values = {_FIELDS[column]: _text(cells[row]) for column, cells in there.items()}
        if not values.get("kingdom") and (kingdom := _KINGDOM_OF_CODE.get(_text(codes[row]).lower())):
            values["kingdom"] = kingdom
        rows.append(VerbatimLineage(**values))
    return rows


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def decisions_table(names: pa.Table, resolutions: Sequence[Resolution], digests: Mapping[str, str]) -> pa.Table:
    """The input's columns as `verbatim_*`, then RESULT_COLUMNS, each row in its place; without an `id` rows are numbered from 1."""
    columns: dict[str, Any] = {f"verbatim_{name}": names[name] for name in names.column_names}
    columns["id"] = names["id"] if "id" in names.column_names else pa.array([str(row) for row in range(1, names.num_rows + 1)], pa.string())
    values: dict[str, list[Any]] = {name: [str(getattr(one, name)) for one in resolutions] for name in _TEXT_RESULTS}
    values["reason"] = [one.reason or _REASONS.get(one.match_type, "") for one in resolutions]
    values["vernacular_name"] = [one.common_name for one in resolutions]
    values["backbone_digest"] = [digests.get(one.backbone, "") for one in resolutions]
    for place, rank in enumerate(RANKS):
        values[rank] = [one.lineage[place] for one in resolutions]
    for name in RESULT_COLUMNS[1:]:
        is_number = name in {"confidence", "margin"}
        cells = [getattr(one, name) for one in resolutions] if is_number else values[name]
        columns[name] = pa.array(cells, pa.int16() if is_number else pa.string())
    return pa.table(columns)


def write_names(table: pa.Table, path: Path) -> None:
    """Write .parquet, .csv or .tsv, whole or not at all; raises UsageError for another ending."""
    if path.suffix.lower() not in {".parquet", ".csv", ".tsv"}:
        raise UsageError(f"--output {str(path)!r} ends in none of .parquet, .csv and .tsv.")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        if path.suffix.lower() == ".parquet":
            pq.write_table(table, partial, compression="zstd")
        else:
            delimiter = "," if path.suffix.lower() == ".csv" else "\t"
            pacsv.write_csv(table, partial, pacsv.WriteOptions(delimiter=delimiter, quoting_style="needed"))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
