"""The page on names: how they were decided, which decisions need review, and the tree of resolved taxa."""

from __future__ import annotations

from collections.abc import Callable

from bioclip import layout
from bioclip.report.data.name_decisions.decision_summary import DecisionSummary
from bioclip.report.data.name_decisions.name_report import NameReport
from bioclip.report.html.components import tiles
from bioclip.report.html.section import Section
from bioclip.report.html.templates import render_page
from bioclip.report.html.text import number, percent, plain
from bioclip.report.sections.names_page.decided_names import (
    OUTCOME_TITLES,
    confidence_section,
    contradictions_section,
    curated_section,
    matches_section,
    respelled_section,
    unresolved_section,
)
from bioclip.report.sections.names_page.image_names import images_section
from bioclip.report.sections.names_page.resolved_taxa import tree_section

SECTIONS: tuple[Callable[[DecisionSummary], Section | None], ...] = (
    matches_section,
    confidence_section,
    unresolved_section,
    respelled_section,
    curated_section,
    contradictions_section,
)
"""In the order of the page, before the sections on images and on the tree; None leaves a section out."""


def render_taxonomy_page(report: NameReport) -> bytes:
    """One self-contained page as UTF-8; the same bytes for the same decisions in any order."""
    decisions = report.decisions
    sections = [section for make in SECTIONS if (section := make(decisions)) is not None]
    if report.conflicts is not None:
        sections.append(images_section(report.conflicts))
    return render_page(
        "names.html",
        title=f"Taxonomy of {plain(report.title)}",
        name=report.title or "names",
        report=report,
        release_page=layout.RELEASE_PAGE,
        sections=[*sections, tree_section(decisions)],
        counts=tiles(_headline(decisions)),
    )


def _headline(decisions: DecisionSummary) -> list[tuple[str, str]]:
    total = decisions.total
    outcomes = [
        (f"{OUTCOME_TITLES[outcome]}, {percent(counts.num_records, total.num_records)}", number(counts.num_records))
        for outcome, counts in decisions.outcomes.items()
    ]
    return [("records", number(total.num_records)), ("distinct lineages", number(total.num_lineages)), *outcomes]
