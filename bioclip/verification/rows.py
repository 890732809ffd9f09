"""Tables read in parallel, batch by batch, and their first differences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from bioclip import layout
from bioclip.parquet import open_table, read_batches
from bioclip.storage import Storage
from bioclip.verification.findings import Finding

_EMPTY = pa.table({})


def read_samples(storage: Storage, columns: Sequence[str]) -> Iterator[pa.Table]:
    """`columns`, which include `split`, of the rows that have a split."""
    for rows in read_batches(storage, layout.SAMPLES, columns):
        yield rows.filter(pc.not_equal(rows["split"], ""))


def aligned(*streams: Iterator[pa.Table]) -> Iterator[tuple[pa.Table, ...]]:
    """The streams cut at the same rows, until one ends."""
    waiting = [_EMPTY] * len(streams)
    while True:
        for place, stream in enumerate(streams):
            while not waiting[place].num_rows:
                following = next(stream, None)
                if following is None:
                    return
                waiting[place] = following
        num_rows = min(table.num_rows for table in waiting)
        yield tuple(table.slice(0, num_rows).combine_chunks() for table in waiting)
        waiting = [table.slice(num_rows) for table in waiting]


def has_form(storage: Storage, name: str, schema: pa.Schema, num_rows: int | None = None) -> Iterator[Finding]:
    """Whether a table has the columns of `schema` and, if given, `num_rows` rows, the number of samples."""
    with open_table(storage, name) as file:
        found, found_rows = file.schema_arrow, file.metadata.num_rows
    if found.names != schema.names or found.types != schema.types:
        yield Finding("schema_differs", name, f"columns {', '.join(found.names)}; expected {', '.join(schema.names)}")
    elif num_rows is not None and found_rows != num_rows:
        yield Finding("counts_do_not_add_up", name, f"{found_rows} rows; samples.parquet has {num_rows} samples")


def differing_rows(name: str, key: str, found: pa.Table, wanted: pa.Table, source: str = layout.SAMPLES) -> Iterator[Finding]:
    """A finding for each column of `wanted` that differs in `found`, with the first such row; `key` names its id column."""
    for column in wanted.column_names:
        mine, theirs = found[column], wanted[column]
        if mine.equals(theirs):
            continue
        pairs = list(zip(mine.to_pylist(), theirs.to_pylist(), strict=True))
        places = [place for place, (one, other) in enumerate(pairs) if one != other]
        if not places:
            continue
        one, other = pairs[places[0]]
        row_id = found[key][places[0]].as_py()
        more = f" ({len(places) - 1} more rows)" if len(places) > 1 else ""
        yield Finding("row_differs", name, f"{row_id}: {column} {one!r}; expected {other!r} from {source}{more}")
