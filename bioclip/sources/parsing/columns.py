"""Arrow columns of text as readers need them; empty strings stand for missing values throughout."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc

from bioclip.records import Record
from bioclip.schemas import RECORD_SCHEMA

PROVIDED_SCHEMA = pa.schema([field for field in RECORD_SCHEMA if field.name not in {"record_id", "lineage_id"}])
"""RECORD_SCHEMA less the two ids, which the stage computes."""


def constant(value: str, num_rows: int) -> pa.Array:
    """A column of one string."""
    return pa.repeat(pa.scalar(value, pa.string()), num_rows)


def text(table: pa.Table, name: str) -> Any:
    """A column of strings without nulls; empty strings when the table has no such column."""
    if name not in table.column_names:
        return constant("", table.num_rows)
    return filled(table[name])


def filled(column: Any) -> Any:
    """The column with empty strings for nulls."""
    return pc.fill_null(column, "") if column.null_count else column


def is_empty(column: Any) -> Any:
    """Booleans: where a column of strings says nothing."""
    return pc.equal(filled(column), "")


def first_of(*columns: Any) -> Any:
    """The first of the columns that says something, row by row."""
    result = columns[-1]
    for column in reversed(columns[:-1]):
        result = pc.if_else(is_empty(column), result, column)
    return result


def per_distinct(column: Any, function: Callable[[str], Any], type_: pa.DataType) -> Any:
    """`function` of each value, called once for each distinct one."""
    encoded = pc.dictionary_encode(filled(column))
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    if isinstance(encoded, pa.ChunkedArray):
        encoded = pa.concat_arrays(encoded.chunks) if encoded.num_chunks else pa.array([], pa.string()).dictionary_encode()
    values = pa.array([function(value) for value in encoded.dictionary.to_pylist()], type_)
    return values.take(encoded.indices)


def degrees(column: Any, limit: float) -> Any:
    """Decimal degrees within +-limit, null for anything else."""
    given = pc.if_else(is_empty(column), None, column)
    try:
        values = pc.cast(given, pa.float64())
    except pa.ArrowInvalid:
        values = pa.array([parse_degrees(value or "", limit) for value in given.to_pylist()], pa.float64())
    return pc.if_else(pc.less_equal(pc.abs(values), limit), values, None)


def parse_degrees(value: str, limit: float) -> float | None:
    """Decimal degrees within +-limit, or None for anything else."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if -limit <= number <= limit else None


def verbatim_map(table: pa.Table, terms: Iterable[str]) -> pa.Array:
    """map<term, value> of the columns that say something, row by row, sorted by term."""
    names = sorted(terms)
    offsets = np.zeros(table.num_rows + 1, np.int32)
    if not names or not table.num_rows:
        empty = pa.array([], pa.string())
        return pa.MapArray.from_arrays(pa.array(offsets), empty, empty)
    columns = [filled(table[name]).combine_chunks() for name in names]
    is_said = np.stack([pc.not_equal(column, "").to_numpy(zero_copy_only=False) for column in columns], axis=1)
    np.cumsum(is_said.sum(axis=1), out=offsets[1:])
    rows, places = np.nonzero(is_said)
    values = pa.concat_arrays(columns).take(pa.array(places * table.num_rows + rows))
    return pa.MapArray.from_arrays(pa.array(offsets), pa.array(names).take(pa.array(places)), values)


def complete_table(table: pa.Table, source_name: str, normalize: Callable[[str], str]) -> pa.Table:
    """PROVIDED_SCHEMA rows of what a reader gave."""
    columns: dict[str, Any] = {}
    for field in PROVIDED_SCHEMA:
        if field.name in table.column_names:
            column = table[field.name]
            if column.type != field.type:
                column = column.cast(field.type)
            columns[field.name] = filled(column) if field.type == pa.string() else column
        else:
            columns[field.name] = _default(field, table.num_rows)
    columns["source"] = constant(source_name, table.num_rows)
    if "license" not in table.column_names:
        columns["license"] = per_distinct(columns["license_verbatim"], normalize, pa.string())
    return pa.table(columns, schema=PROVIDED_SCHEMA)


def _default(field: pa.Field, num_rows: int) -> pa.Array:
    if field.type == pa.string():
        return constant("", num_rows)
    if field.name == "media_index":
        return pa.array(np.zeros(num_rows, np.int32))
    if field.name == "verbatim":
        empty = pa.array([], pa.string())
        return pa.MapArray.from_arrays(pa.array(np.zeros(num_rows + 1, np.int32)), empty, empty)
    return pa.nulls(num_rows, field.type)


def table_records(table: pa.Table) -> Iterator[Record]:
    """Each row of a PROVIDED_SCHEMA table as a Record."""
    for row in table.to_pylist():
        yield Record(**{**row, "verbatim": dict(row["verbatim"] or ())})


def records_columns(records: list[Record]) -> pa.Table:
    """PROVIDED_SCHEMA table of Records, in the order given."""
    columns: dict[str, list[Any]] = {}
    for name in PROVIDED_SCHEMA.names:
        values = [getattr(record, name) for record in records]
        columns[name] = [sorted(value.items()) for value in values] if name == "verbatim" else values
    return pa.table(columns, schema=PROVIDED_SCHEMA)


def records_table(records: Iterable[Record]) -> pa.Table:
    """RECORD_SCHEMA table of `records`, in the order given."""
    columns: dict[str, list[Any]] = {name: [] for name in RECORD_SCHEMA.names}
    names = [f.name for f in fields(Record) if f.name != "verbatim"]
    for record in records:
        columns["record_id"].append(record.id)
        columns["lineage_id"].append(record.lineage_id)
        for name in names:
            columns[name].append(getattr(record, name))
        columns["verbatim"].append(sorted(record.verbatim.items()))
    return pa.table(columns, schema=RECORD_SCHEMA)
