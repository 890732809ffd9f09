"""Input of the stage `release`: tables of all earlier stages, joined one partition at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.errors import StorageError
from bioclip.partitions import read_stage
from bioclip.records import RANKS
from bioclip.schemas import IMAGE_SCHEMA, LINEAGE_SCHEMA, RECORD_SCHEMA, SAMPLE_SCHEMA
from bioclip.selection.candidates import Candidates, SharedTable
from bioclip.selection.splits import occurrence_keys
from bioclip.storage import Storage

_IMAGE_COLUMNS = (
    "record_id", "sha256", "original_sha256", "pixel_sha256", "phash", "thumbnail", "entropy_bits", "width", "height", "original_width",
    "original_height", "num_bytes",
)  # fmt: skip
_RECORD_COLUMNS = ("source", "source_id", "occurrence_id", "event_date", "observer", "image_type", "crop_x")
_NAME_COLUMNS = (
    "lineage_id", "match_type", "reason", "resolved_rank", *RANKS, "common_name", "accepted_id", "canonical_name", "backbone",
    "verbatim_scientific_name",
)  # fmt: skip
_GROUP_COLUMNS = ("record_id", "kept_record_id", "kind", "distance")
_DESCRIPTION_COLUMNS = (
    "media_url", "license", "license_verbatim", "rights_holder", "creator", "basis_of_record", "event_date", "latitude", "longitude",
    "scientific_name",
)  # fmt: skip
"""Columns that no rule reads; they are read when samples are written."""
_DECIDED = {"split", "split_reason", "drop_reason", "drop_detail", "shard"}


def read_candidates(storage: Storage) -> Candidates:
    """Every downloaded image with its record, name and group. Raises StorageError if the images are not in order."""
    with storage.reader(layout.NAMES) as stream:
        names = pq.read_table(stream, columns=list(_NAME_COLUMNS))
    unnamed = pa.Table.from_pylist([dict.fromkeys(_NAME_COLUMNS, "")], pa.schema([LINEAGE_SCHEMA.field(name) for name in _NAME_COLUMNS]))
    names = pa.concat_tables([names.cast(unnamed.schema), unnamed]).combine_chunks()
    with storage.reader(layout.DUPLICATE_GROUPS) as stream:
        groups = pq.read_table(stream, columns=list(_GROUP_COLUMNS)).combine_chunks()
    schema = pa.schema([IMAGE_SCHEMA.field(name) for name in _IMAGE_COLUMNS] + [RECORD_SCHEMA.field(name) for name in _RECORD_COLUMNS])
    images, lineages, parts, num_rows = [schema.empty_table()], [np.empty(0, np.int32)], [], 0
    for index, name, records in image_parts(storage):
        with storage.reader(name) as stream:
            part = pq.read_table(stream, columns=list(_IMAGE_COLUMNS))
        described = read_records(storage, records, part["record_id"], ("lineage_id", *_RECORD_COLUMNS))
        rows = pc.fill_null(pc.index_in(described["lineage_id"], value_set=names["lineage_id"].combine_chunks()), names.num_rows - 1)
        lineages.append(rows.to_numpy())
        for column in _RECORD_COLUMNS:
            part = part.append_column(column, described[column])
        images.append(part.cast(schema))
        parts.append((index, num_rows, num_rows + part.num_rows))
        num_rows += part.num_rows
    table = pa.concat_tables(images)
    _check_order(storage, table["record_id"])
    table = table.append_column("occurrence", occurrence_keys(table)).append_column("is_crop", pc.is_valid(table["crop_x"]))
    of_group = pc.fill_null(pc.index_in(table["record_id"], value_set=groups["record_id"].combine_chunks()), -1).to_numpy()
    pa.default_memory_pool().release_unused()
    shared = (
        SharedTable(names.drop_columns("lineage_id"), np.concatenate(lineages)),
        SharedTable(groups.drop_columns("record_id"), of_group),
    )
    return Candidates(table.drop_columns("crop_x"), *shared, parts=parts)


def described_parts(storage: Storage, candidates: Candidates) -> Iterator[tuple[int, int, dict[str, pa.ChunkedArray]]]:
    """(first row, row after the last, columns of SAMPLE_SCHEMA without `shard` and the decisions) of each partition."""
    records = {index: names for index, _, names in image_parts(storage)}
    for index, start, stop in candidates.parts:
        described = read_records(storage, records[index], candidates.column("record_id", start, stop), _DESCRIPTION_COLUMNS)
        columns = {name: described[name] for name in _DESCRIPTION_COLUMNS if name != "scientific_name"} | {
            "verbatim_name": described["scientific_name"]
        }
        for field in SAMPLE_SCHEMA:
            if field.name not in columns and field.name not in _DECIDED:
                columns[field.name] = candidates.column(field.name, start, stop)
        yield start, stop, {name: pc.fill_null(c, "") if pa.types.is_string(c.type) else c for name, c in columns.items()}


def read_records(storage: Storage, names: Sequence[str], record_ids: pa.ChunkedArray, columns: Sequence[str]) -> pa.Table:
    """`columns` of the records of some ids, in their order, null where there is no record; `names` are the tables that may have them."""
    schema = pa.schema([RECORD_SCHEMA.field(name).with_nullable(True) for name in ("record_id", *columns)])
    tables = [schema.empty_table()]
    for name in names:
        with storage.reader(name) as stream:
            tables.append(pq.read_table(stream, columns=schema.names).cast(schema))
    records = pa.concat_tables(tables).combine_chunks()
    rows = pc.index_in(record_ids, value_set=records["record_id"].combine_chunks())
    return records.select(list(columns)).take(rows)


def image_parts(storage: Storage) -> Iterator[tuple[int, str, list[str]]]:
    """(partition, its images, tables of its records) in order of the partitions."""
    records: dict[int, list[str]] = {}
    for output in read_stage(storage, "records").outputs:
        if (index := layout.part_number(output.name)) is not None:
            records.setdefault(index, []).append(output.name)
    for output in read_stage(storage, "images").outputs:
        if (index := layout.part_number(output.name)) is not None:
            yield index, output.name, records.get(index, [])


def _check_order(storage: Storage, record_ids: pa.ChunkedArray) -> None:
    if len(record_ids) > 1 and not pc.all(pc.less(record_ids.slice(0, len(record_ids) - 1), record_ids.slice(1))).as_py():
        raise StorageError(
            f"the images in {storage.uri('images')!r} are not in order of record id, each once; run the stage `images` again."
        )
