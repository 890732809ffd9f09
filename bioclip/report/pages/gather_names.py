"""From a workspace, or a table of decisions, to the page on names."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from bioclip import layout
from bioclip.partitions import read_stage
from bioclip.releases import Release
from bioclip.report.data.batches import read_rows
from bioclip.report.data.decision_tables import DECIDED_COLUMNS, GIVEN_COLUMNS, read_decisions
from bioclip.report.data.image_conflicts import ImageConflicts, gather_conflicts
from bioclip.report.data.name_decisions import sum_up_decisions
from bioclip.report.data.report_data import ReportData
from bioclip.report.html.markup import element, join, name_of
from bioclip.report.pages.names import TaxonomyPage
from bioclip.storage import Storage


def gather_taxonomy(storage: Storage, release: Release, data: ReportData) -> TaxonomyPage | None:
    """The page on the names of `release`; None when the report knows no taxonomy. `data` is the report's."""
    if data.names is None:
        return None
    with storage.reader(layout.NAMES) as stream:
        there = set(pq.read_schema(stream).names)
    columns = [name for name in (*GIVEN_COLUMNS, *DECIDED_COLUMNS, "num_records") if name in there]
    decisions = sum_up_decisions(read_rows(storage, layout.NAMES, columns))
    digest = next(stage.digest for stage in data.stages if stage.stage == "taxonomy")
    made_from = ["Release ", element("code", data.version), ", ", element("a", "its report", href=layout.RELEASE_PAGE), ", names "]
    origin = join([*made_from, element("code", digest, class_="digest")])
    return TaxonomyPage(data.name or "release", origin, decisions, _conflicts(storage, release, data))


def _conflicts(storage: Storage, release: Release, data: ReportData) -> ImageConflicts | None:
    current = {stage.stage for stage in data.stages if stage.is_current}
    if not {"duplicates", "release"} <= current:
        return None
    return gather_conflicts(storage, release, read_stage(storage, "images") if "images" in current else None)


def table_page(path: Path) -> TaxonomyPage:
    """The page on a table of decisions, one row a name; raises UsageError when it is none."""
    origin = join(["Decisions ", element("code", name_of(path.name))])
    return TaxonomyPage(path.name, origin, sum_up_decisions(read_decisions(path)))
