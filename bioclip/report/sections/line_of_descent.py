"""Line of descent: digests of everything that the page was generated from, and the settings."""

from __future__ import annotations

from bioclip.report.data.report_data import ReportData, StageSummary
from bioclip.report.html.components import code, details, digest_of, join, name_of, table
from bioclip.report.html.section import Section
from bioclip.report.html.text import number


def lineage_section(data: ReportData) -> Section:
    """Digests of the inputs, digests of each stage's output, and the settings."""
    inputs = [(name_of(what), digest_of(digest)) for what, digest in data.inputs]
    parts = [table("Inputs of this page (SHA-256 of each file)", ("Input", "Digest"), inputs)]
    if data.stages:
        stages = [(code(stage.stage), digest_of(stage.digest), _state(stage)) for stage in data.stages]
        parts.append(table("Outputs of each stage (SHA-256 over their names and digests)", ("Stage", "Digest", "In the workspace"), stages))
    if data.settings:
        rows = [(code(key), name_of(value, 90)) for key, value in data.settings]
        parts.append(details(f"Settings that decide results ({number(len(rows))})", table("Settings", ("Key", "Value"), rows)))
    return Section("lineage", "Line of descent", join(parts))


def _state(stage: StageSummary) -> str:
    return "the same" if stage.is_current else "run again since, with another result"
