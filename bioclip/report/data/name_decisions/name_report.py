"""Reads the decisions on names from a workspace or from a table of decisions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from bioclip import layout
from bioclip.parquet import read_rows
from bioclip.partitions import read_stage
from bioclip.releases import Release
from bioclip.report.data.image_groups.image_conflicts import ImageConflicts, gather_conflicts
from bioclip.report.data.name_decisions.decision_summary import DecisionSummary, sum_up_decisions
from bioclip.report.data.name_decisions.decision_tables import DECIDED_COLUMNS, GIVEN_COLUMNS, read_decisions
from bioclip.report.data.report_data import ReportData
from bioclip.storage import Storage


@dataclass(frozen=True)
class NameReport:
    """What the page on names shows; `conflicts` is None where no images are known, as for a table of decisions."""

    title: str
    decisions: DecisionSummary
    conflicts: ImageConflicts | None = None
    release_version: str = ""
    """Empty for a table of decisions."""
    names_digest: str = ""
    """Digest of the release's taxonomy stage."""


def gather_name_report(storage: Storage, release: Release, data: ReportData) -> NameReport | None:
    """The decisions on the names of `release`; None when `data`, the release's report, has no names."""
    if data.names is None:
        return None
    with storage.reader(layout.NAMES) as stream:
        there = set(pq.read_schema(stream).names)
    columns = [name for name in (*GIVEN_COLUMNS, *DECIDED_COLUMNS, "num_records") if name in there]
    decisions = sum_up_decisions(read_rows(storage, layout.NAMES, columns))
    digest = next(stage.digest for stage in data.stages if stage.stage == "taxonomy")
    return NameReport(data.name or "release", decisions, _conflicts(storage, release, data), data.version, digest)


def _conflicts(storage: Storage, release: Release, data: ReportData) -> ImageConflicts | None:
    current = {stage.stage for stage in data.stages if stage.is_current}
    if not {"duplicates", "release"} <= current:
        return None
    images, records = (read_stage(storage, name) if name in current else None for name in ("images", "records"))
    return gather_conflicts(storage, release, images, records)


def read_name_report(path: Path) -> NameReport:
    """The decisions of a table that `treeoflife names resolve` wrote; raises UsageError for any other file."""
    return NameReport(path.name, sum_up_decisions(read_decisions(path)))
