"""Reads tables of decisions, as `treeoflife names resolve` writes them, in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bioclip.delimited.dialects import Dialect
from bioclip.delimited.reading import Column, DelimitedTable
from bioclip.errors import ArchiveError, UsageError
from bioclip.records import RANKS, VERBATIM_NAME_COLUMNS

GIVEN_COLUMNS = tuple(f"verbatim_{name.rstrip('_')}" for name in VERBATIM_NAME_COLUMNS)
_GIVEN_IN_TABLES = (*GIVEN_COLUMNS, *(f"verbatim_{name}" for name in ("species", "authorship", "rank", "code")))
_ALWAYS = ("match_type", "reason", "confidence", "matched_name", "accepted_name", "resolved_rank", *RANKS)
DECIDED_COLUMNS = (*_ALWAYS, "contradicts", "curation")
_BATCH_ROWS, _FOLD_AT = 65_536, 1_000_000


def read_decisions(path: Path) -> Iterator[Mapping[str, Any]]:
    """Distinct rows with `num_records`, as input of `sum_up_decisions`.

    Memory grows with the number of distinct names. Raises UsageError for a file that is not a table of decisions (.parquet, .csv, .tsv).
    """
    try:
        with path.open("rb") as stream:
            counted = _fold(_batches(path, stream))
    except ArchiveError as error:
        raise UsageError(str(error)) from None
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{str(path)!r} cannot be read as a table: {' '.join(str(error).split())}.") from None
    for batch in counted.to_batches(max_chunksize=16_384):
        yield from batch.to_pylist()


def _batches(path: Path, stream: Any) -> Iterator[pa.RecordBatch | pa.Table]:
    if path.suffix.lower() == ".parquet":
        file = pq.ParquetFile(stream, pre_buffer=False)
        yield from file.iter_batches(_BATCH_ROWS, columns=_wanted(path, file.schema_arrow.names))
        return
    delimiter = "," if path.suffix.lower() == ".csv" else "\t"
    text = DelimitedTable(stream, str(path), Dialect(delimiter))
    wanted = _wanted(path, text.header)
    yield from text.tables({name: Column(text.header.index(name)) for name in wanted})


def _wanted(path: Path, there: Iterable[str]) -> list[str]:
    names = set(there)
    if missing := [name for name in _ALWAYS if name not in names]:
        raise UsageError(
            f"{str(path)!r} holds no decisions on names, since {missing[0]!r} is missing; write it with `treeoflife names resolve`."
        )
    return [name for name in (*_GIVEN_IN_TABLES, *DECIDED_COLUMNS) if name in names]


def _fold(batches: Iterable[pa.RecordBatch | pa.Table]) -> pa.Table:
    """The distinct rows with the number of occurrences of each."""
    parts: list[pa.Table] = []
    num_rows = 0
    for batch in batches:
        part = pa.table({name: batch[name].cast(pa.string()).fill_null("") for name in batch.schema.names})
        parts.append(_count(part.append_column("num_records", pa.repeat(pa.scalar(1, pa.int64()), part.num_rows))))
        num_rows += parts[-1].num_rows
        if num_rows > _FOLD_AT + 2 * parts[0].num_rows:
            parts = [_count(pa.concat_tables(parts))]
            num_rows = parts[0].num_rows
    return _count(pa.concat_tables(parts)) if parts else pa.table({})


def _count(table: pa.Table) -> pa.Table:
    columns = [name for name in table.column_names if name != "num_records"]
    counted = table.group_by(columns).aggregate([("num_records", "sum")])
    return counted.select([*columns, "num_records_sum"]).rename_columns([*columns, "num_records"])
