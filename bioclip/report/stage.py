"""The stage `report`: a self-contained page on a release, its model and its scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bioclip import layout
from bioclip.accounting import Counts
from bioclip.digests import digest_value
from bioclip.partitions import PartitionJob, PartitionWriter
from bioclip.releases import open_release
from bioclip.report.data.model_runs import flatten
from bioclip.report.data.name_decisions.name_report import gather_name_report
from bioclip.report.data.stopped_run import gather_stopped_run, stopped_inputs
from bioclip.report.data.workspace_report import gather_inputs, gather_report
from bioclip.report.html.section import Section
from bioclip.report.pages.names import render_taxonomy_page
from bioclip.report.pages.release import render_report, render_sections
from bioclip.settings import PipelineSettings, meaningful
from bioclip.storage import Storage

STAGE = "report"
_VERSION = 6


def plan_report(
    storage: Storage, settings: PipelineSettings, version: str, model_id: str | None, evaluation_id: str | None
) -> list[PartitionJob]:
    """One job that writes reports/<id>/report.html, and taxonomy.html in the same folder if names were resolved.

    The id is a digest of everything that the pages show.

    Raises StorageError when the release, the model or the evaluation does not exist, UsageError when they do not belong together.
    """
    inputs = gather_inputs(storage, version, model_id, evaluation_id)
    shown = settings_shown(settings)
    settings_digest = digest_value(shown)
    report_id = digest_value([_VERSION, inputs, settings_digest])[:12]
    return [
        PartitionJob(
            stage=STAGE,
            name="report",
            directory=layout.report_dir(report_id),
            version=_VERSION,
            inputs=inputs,
            settings=settings_digest,
            work=write_report,
            storage=storage,
            arguments={
                "name": f"{layout.report_dir(report_id)}/{layout.RELEASE_PAGE}",
                "version": version,
                "model_id": model_id,
                "evaluation_id": evaluation_id,
                "settings": shown,
            },
        )
    ]


def write_report(
    storage: Storage,
    writer: PartitionWriter,
    *,
    name: str,
    version: str,
    model_id: str | None,
    evaluation_id: str | None,
    settings: list[tuple[str, str]],
) -> Counts:
    """Write the page as `name`, and the page on names in the same folder; the counts are those of the sections of the first."""
    data = gather_report(storage, version, model_id, evaluation_id, settings)
    sections = render_sections(data)
    writer.write_bytes(name, render_report(data, sections))
    if (taxonomy := gather_name_report(storage, open_release(storage, version), data)) is not None:
        writer.write_bytes(f"{name.rpartition('/')[0]}/{layout.NAMES_PAGE}", render_taxonomy_page(taxonomy))
    return _section_counts(sections)


def plan_stopped_report(storage: Storage, settings: PipelineSettings, stages: Sequence[str], reason: str) -> list[PartitionJob]:
    """One job that writes reports/<id>/report.html about a run of `stages` whose last one dropped everything, for `reason`."""
    inputs, shown = stopped_inputs(storage, stages), settings_shown(settings)
    settings_digest = digest_value([shown, reason])
    report_id = digest_value([_VERSION, inputs, settings_digest])[:12]
    arguments = {
        "name": f"{layout.report_dir(report_id)}/{layout.RELEASE_PAGE}",
        "dataset": settings.release.name,
        "stages": tuple(stages),
        "reason": reason,
        "settings": shown,
    }
    return [
        PartitionJob(
            stage=STAGE,
            name="report",
            directory=layout.report_dir(report_id),
            version=_VERSION,
            inputs=inputs,
            settings=settings_digest,
            work=write_stopped_report,
            storage=storage,
            arguments=arguments,
        )
    ]


def write_stopped_report(
    storage: Storage,
    writer: PartitionWriter,
    *,
    name: str,
    dataset: str,
    stages: Sequence[str],
    reason: str,
    settings: list[tuple[str, str]],
) -> Counts:
    """Write the page on a run without a release as `name`; the counts are those of its sections."""
    data = gather_stopped_run(storage, dataset, stages, reason, settings)
    sections = render_sections(data)
    writer.write_bytes(name, render_report(data, [section for section in sections if section.is_shown]))
    return _section_counts(sections)


def _section_counts(sections: Sequence[Section]) -> Counts:
    num_shown = sum(section.is_shown for section in sections)
    return Counts(len(sections), num_shown, {"section_without_data": len(sections) - num_shown})


def settings_shown(settings: PipelineSettings) -> list[tuple[str, str]]:
    """(dotted key, value) of the settings that decide results; archives and backbones are given by name, without paths."""
    values = meaningful(settings)
    values["sources"] = _by_name(values["sources"])
    values["taxonomy"] = {**values["taxonomy"], "backbones": _by_name(values["taxonomy"]["backbones"])}
    return list(flatten(values))


def _by_name(entries: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {entry["name"]: {key: value for key, value in entry.items() if key != "name"} for entry in entries}
