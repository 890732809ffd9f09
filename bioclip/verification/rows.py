"""Tables read side by side, a batch at a time, and where two of them first differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.parquet import read_batches
from bioclip.storage import Storage
from bioclip.verification.findings import Finding

_EMPTY = pa.table({})


def read_samples(storage: Storage, columns: Sequence[str]) -> Iterator[pa.Table]:
    """`columns`, `split` among them, of the rows that have a split."""
    for rows in read_batches(storage, layout.SAMPLES, columns):
        yield rows.filter(pc.not_equal(rows["split"], ""))


def aligned(*streams: Iterator[pa.Table]) -> Iterator[tuple[pa.Table, ...]]:
    """The same rows of each stream, until one ends."""
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
    """Whether a table has the columns of `schema` and, where it is given, the number of rows of the samples."""
    with storage.reader(name) as stream:
        file = pq.ParquetFile(stream, pre_buffer=False)
        found, found_rows = file.schema_arrow, file.metadata.num_rows
    if found.names != schema.names or found.types != schema.types:
        yield Finding("schema_differs", name, f"columns {', '.join(found.names)}; a release has {', '.join(schema.names)}")
    elif num_rows is not None and found_rows != num_rows:
        yield Finding("counts_do_not_add_up", name, f"{found_rows} rows; samples.parquet has {num_rows} samples")


def differing_rows(name: str, key: str, found: pa.Table, wanted: pa.Table, source: str = layout.SAMPLES) -> Iterator[Finding]:
    """A finding for each column of `wanted` that `found` has otherwise, with the first such row; `key` names the column of its id."""
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
        yield Finding("row_differs", name, f"{row_id}: {column} {one!r}; {source} makes it {other!r}{more}")
