"""A section of a page."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from bioclip.report.data.report_data import ReportData
from bioclip.report.html.templates import render_macro


@dataclass(frozen=True)
class Section:
    """`body` is None when there is nothing to show; then `absent` states why in one sentence."""

    identifier: str
    title: str
    body: Markup | None
    absent: str = ""

    @property
    def is_shown(self) -> bool:
        """True when there is something to show."""
        return self.body is not None

    def render(self) -> Markup:
        """The section with its heading."""
        return render_macro("components.html", "section", self)


def explain_absence(data: ReportData, stage: str, never: str) -> str:
    """Why a section on `stage` is empty: `never`, or that the workspace no longer holds the release's results of that stage."""
    if data.is_outdated(stage):
        return f"Stage {stage!r} has run again in this workspace since this release; its details belong to another state and are not shown."
    return never
