"""Filters of records: predicates over batches, each with its own drop reason.

A predicate that is not set accepts every record. If it is set and the provider states no value, the record is dropped under a
separate reason (`…_missing`), unless `ingest.keep_missing` is set. A record that fails several predicates is counted under the first.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
from pyarrow import compute as pc

from bioclip.licenses import is_allowed
from bioclip.settings import IngestSettings
from bioclip.sources.parsing.columns import is_empty, per_distinct


def keep_wanted(table: pa.Table, settings: IngestSettings, dropped: Counter[str]) -> pa.Table:
    """The rows that pass every predicate and the licence filter; the others are counted in `dropped`."""
    for judge in (_basis, _image_type, _quality, _taxa, _region):
        for missing_reason, reason, passes, is_missing in judge(table, settings):
            table_mask = pc.or_(passes, is_missing) if settings.keep_missing else pc.and_not(passes, is_missing)
            num_missing = 0 if settings.keep_missing else pc.sum(is_missing).as_py() or 0
            num_failed = table.num_rows - (pc.sum(table_mask).as_py() or 0) - num_missing
            dropped[missing_reason] += num_missing
            dropped[reason] += num_failed
            if num_missing or num_failed:
                table = table.filter(table_mask)
    is_licensed = per_distinct(table["license"], lambda license_id: is_allowed(license_id, settings.licenses), pa.bool_())
    num_licensed = pc.sum(is_licensed).as_py() or 0
    dropped["license_not_allowed"] += table.num_rows - num_licensed
    return table if num_licensed == table.num_rows else table.filter(is_licensed)


_Verdicts = Iterator[tuple[str, str, Any, Any]]


def _listed(table: pa.Table, column: str, allowed: tuple[str, ...]) -> _Verdicts:
    if allowed:
        wanted = {_folded(value) for value in allowed}
        passes = per_distinct(table[column], lambda value: _folded(value) in wanted, pa.bool_())
        yield f"{column}_missing", f"{column}_not_allowed", passes, is_empty(table[column])


def _basis(table: pa.Table, settings: IngestSettings) -> _Verdicts:
    return _listed(table, "basis_of_record", settings.basis_of_record)


def _image_type(table: pa.Table, settings: IngestSettings) -> _Verdicts:
    return _listed(table, "image_type", settings.image_types)


def _quality(table: pa.Table, settings: IngestSettings) -> _Verdicts:
    return _listed(table, "quality_grade", settings.quality_grades)


def _taxa(table: pa.Table, settings: IngestSettings) -> _Verdicts:
    """A record passes when one entry names its ancestor; it counts as missing if every rank in the setting is empty."""
    if not settings.taxa:
        return
    passes: Any = None
    is_missing: Any = None
    for entry in settings.taxa:
        rank, _, name = entry.partition("=")
        column = table["class_" if rank == "class" else rank]
        matches = per_distinct(column, _equals(name.strip().casefold()), pa.bool_())
        passes = matches if passes is None else pc.or_(passes, matches)
        is_missing = is_empty(column) if is_missing is None else pc.and_(is_missing, is_empty(column))
    yield "taxon_missing", "taxon_not_wanted", passes, is_missing


def _equals(name: str) -> Callable[[str], bool]:
    return lambda value: value.strip().casefold() == name


def _region(table: pa.Table, settings: IngestSettings) -> _Verdicts:
    """The box includes its edges; a box whose west is greater than its east crosses the antimeridian."""
    if settings.region is None:
        return
    south, west, north, east = settings.region
    latitude, longitude = table["latitude"], table["longitude"]
    is_missing = pc.or_(pc.is_null(latitude), pc.is_null(longitude))
    after, before = pc.greater_equal(longitude, west), pc.less_equal(longitude, east)
    is_between = pc.and_(after, before) if west <= east else pc.or_(after, before)
    passes = pc.and_(pc.and_(pc.greater_equal(latitude, south), pc.less_equal(latitude, north)), is_between)
    yield "coordinates_missing", "outside_region", pc.fill_null(passes, False), is_missing


def _folded(value: str) -> str:
    """`PRESERVED_SPECIMEN` and `PreservedSpecimen` are equal."""
    return re.sub(r"[\W_]+", "", value).casefold()
