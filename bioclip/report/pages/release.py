"""The page on a release: one self-contained file."""

from __future__ import annotations

from collections.abc import Callable

from bioclip.report.data.report_data import ReportData
from bioclip.report.html.components import tiles
from bioclip.report.html.photographs import specimens
from bioclip.report.html.section import Section
from bioclip.report.html.templates import render_page
from bioclip.report.html.text import number, plain
from bioclip.report.sections.collecting_places import places_section
from bioclip.report.sections.confusions import predictions_section
from bioclip.report.sections.coverage import coverage_section
from bioclip.report.sections.downloads import describe_days, downloads_section
from bioclip.report.sections.dropped_images import dropped_section
from bioclip.report.sections.duplicate_images import duplicates_section
from bioclip.report.sections.funnel import funnel_section
from bioclip.report.sections.licenses import licenses_section
from bioclip.report.sections.line_of_descent import lineage_section
from bioclip.report.sections.long_tail import long_tail_section
from bioclip.report.sections.names import names_section
from bioclip.report.sections.scores import headline_tiles, scores_section
from bioclip.report.sections.splits import random_samples_section, splits_section
from bioclip.report.sections.taxa import taxa_section
from bioclip.report.sections.training import describe_model, training_section

SECTIONS: tuple[Callable[[ReportData], Section], ...] = (
    funnel_section,
    downloads_section,
    taxa_section,
    coverage_section,
    long_tail_section,
    splits_section,
    random_samples_section,
    places_section,
    duplicates_section,
    dropped_section,
    names_section,
    licenses_section,
    training_section,
    scores_section,
    predictions_section,
    lineage_section,
)
"""In the order of the page. A new section is one module in `bioclip/report/sections/` and one line in this list."""


def render_sections(data: ReportData) -> list[Section]:
    """All sections, including those without data."""
    return [make(data) for make in SECTIONS]


def render_report(data: ReportData, sections: list[Section]) -> bytes:
    """The page as UTF-8; the same bytes for the same data."""
    return render_page(
        "release.html",
        title=f"{plain(data.name)} {data.version or '(no release)'}",
        name=data.name or "release",
        data=data,
        sections=sections,
        dates=f", images downloaded{days}" if (days := describe_days(data.downloads)) else "",
        counts=tiles(_headline(data)),
        model=describe_model(data),
        scores=tiles(headline, "scores") if (headline := headline_tiles(data)) else "",
        specimens=specimens(data.samples.specimens),
    )


def _headline(data: ReportData) -> list[tuple[str, str]]:
    samples = data.samples
    lineages = [lineage for lineage in samples.lineages if any(lineage)]
    rows = [("provider rows", stage.counts.read)] if (stage := data.stage("records")) else []
    counts = [
        *rows,
        ("images downloaded", samples.num_images),
        ("samples", samples.num_samples),
        ("species", samples.num_species),
        ("families", len({lineage[:5] for lineage in lineages if lineage[4]})),
        ("sources", sum(1 for origin in samples.sources if origin.num_samples)),
    ]
    return [(what, number(count)) for what, count in counts]
