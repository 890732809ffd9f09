"""Rows and Arrow tables of an archive's tables, as their layout describes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

import pyarrow as pa

from bioclip.darwin_core.layout import TableLayout
from bioclip.delimited.damage import DamageLog
from bioclip.delimited.dialects import Dialect
from bioclip.delimited.reading import BLOCK_BYTES, Column, DelimitedTable


def read_rows(stream: IO[bytes], table: TableLayout, where: str = "", log: DamageLog | None = None) -> Iterator[dict[str, str]]:
    """Each row as local term name -> value; the core's id is under `id` (core) or `coreid` (extension).

    Absent values are the term's default or empty. Short rows are filled up with empty values; of rows longer than the header those with
    values beyond it are ragged; columns beyond the layout are ignored; blank lines are skipped. Damaged rows are counted in `log`;
    without one, more than the default share of them raises ArchiveError. `stream` is closed at the end.
    """
    columns = {table.id_key: Column(table.id_index)} if table.id_index is not None else {}
    columns |= {name: Column(*at) for name, at in table.fields.items()}
    with stream, _counted(log) as damage:
        for _, values in _open(stream, table, where, damage, BLOCK_BYTES).rows():
            yield {
                name: (default or "") if place is None else (values[place] or default or "") for name, (place, default) in columns.items()
            }


def read_tables(
    stream: IO[bytes],
    table: TableLayout,
    terms: Sequence[str],
    where: str = "",
    log: DamageLog | None = None,
    *,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[pa.Table]:
    """Columns `terms` of a table, as strings without nulls, in the order of the file; terms that the layout lacks are empty.

    Values, defaults and damaged rows are those of `read_rows`. The core's id is `table.id_key`. `stream` is closed at the end. Raises
    ArchiveError.
    """
    with stream, _counted(log) as damage:
        yield from _open(stream, table, where, damage, block_bytes).tables({term: _column(table, term) for term in terms})


@contextmanager
def _counted(log: DamageLog | None) -> Iterator[DamageLog]:
    yield (own := log or DamageLog())
    if log is None:
        own.check()


def _open(stream: IO[bytes], table: TableLayout, where: str, log: DamageLog, block_bytes: int) -> DelimitedTable:
    dialect = Dialect(table.fields_terminated_by, table.fields_enclosed_by, table.encoding, table.lines_terminated_by)
    return DelimitedTable(
        stream,
        where or table.where,
        dialect,
        log,
        num_header_lines=table.ignore_header_lines,
        is_padded=True,
        min_width=table.width,
        block_bytes=block_bytes,
    )


def _column(table: TableLayout, term: str) -> Column:
    if term == table.id_key and table.id_index is not None and term not in table.fields:
        return Column(table.id_index)
    return Column(*table.fields.get(term, (None, "")))
