"""From a workspace, or a table of decisions, to the page on names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bioclip.partitions import read_stage
from bioclip.records import RANKS, VERBATIM_NAME_COLUMNS
from bioclip.release import Release
from bioclip.report.batches import read_rows
from bioclip.report.data import ReportData
from bioclip.report.decisions import sum_up_decisions
from bioclip.report.image_conflicts import ImageConflicts, gather_conflicts
from bioclip.report.markup import element, join, name_of
from bioclip.report.taxon_names import NAMES_FILE
from bioclip.report.taxonomy_page import TaxonomyPage
from bioclip.storage import Storage

_GIVEN = (*(f"verbatim_{name.rstrip('_')}" for name in VERBATIM_NAME_COLUMNS), "verbatim_species")
_OPTIONAL_GIVEN = ("verbatim_authorship", "verbatim_rank", "verbatim_code")
_DECIDED = ("match_type", "reason", "confidence", "matched_name", "accepted_name", "resolved_rank", *RANKS, "contradicts")
NEEDED_COLUMNS = frozenset(_DECIDED) - {"contradicts"}
"""Without these a table holds no decisions."""


def gather_taxonomy(storage: Storage, release: Release, data: ReportData) -> TaxonomyPage | None:
    """The page on the names of `release`; None when the report knows no taxonomy. `data` is the report's."""
    if data.names is None:
        return None
    with storage.reader(NAMES_FILE) as stream:
        there = set(pq.read_schema(stream).names)
    columns = [name for name in (*_GIVEN, *_DECIDED, "num_records") if name in there]
    decisions = sum_up_decisions(read_rows(storage, NAMES_FILE, columns))
    digest = next(stage.digest for stage in data.stages if stage.stage == "taxonomy")
    made_from = ["Release ", element("code", data.version), ", ", element("a", "its report", href="report.html"), ", names "]
    origin = join([*made_from, element("code", digest, class_="digest")])
    return TaxonomyPage(data.name or "release", origin, decisions, _conflicts(storage, release, data))


def _conflicts(storage: Storage, release: Release, data: ReportData) -> ImageConflicts | None:
    current = {stage.stage for stage in data.stages if stage.is_current}
    if not {"duplicates", "release"} <= current:
        return None
    return gather_conflicts(storage, release, read_stage(storage, "images") if "images" in current else None)


def table_page(name: str, decisions: pa.Table) -> TaxonomyPage:
    """The page on a table of decisions, one row a name; rows that say the same of a name are one lineage of several records."""
    origin = join(["Decisions ", element("code", name_of(name))])
    return TaxonomyPage(name, origin, sum_up_decisions(_distinct(decisions)))


def _distinct(decisions: pa.Table) -> Iterable[Mapping[str, Any]]:
    columns = [name for name in (*_GIVEN, *_OPTIONAL_GIVEN, *_DECIDED) if name in decisions.column_names]
    counted = decisions.group_by(columns).aggregate([([], "count_all")])
    return _rows(counted.rename_columns(["num_records" if name == "count_all" else name for name in counted.column_names]))


def _rows(table: pa.Table) -> Iterator[Mapping[str, Any]]:
    for batch in table.to_batches(max_chunksize=16_384):
        yield from batch.to_pylist()
