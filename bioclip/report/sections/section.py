"""A section of the page."""

from __future__ import annotations

from dataclasses import dataclass

from bioclip.report.data.report_data import ReportData
from bioclip.report.html.markup import Markup, element


@dataclass(frozen=True)
class Section:
    """`body` is None when there is nothing to show; then `absent` says so in one sentence."""

    identifier: str
    title: str
    body: Markup | None
    absent: str

    @property
    def is_shown(self) -> bool:
        """True when there is something to show."""
        return self.body is not None

    def render(self) -> Markup:
        """The section with its heading."""
        heading = element("h2", self.title, id=f"{self.identifier}-title")
        body = self.body if self.body is not None else element("p", self.absent, class_="absent")
        return element("section", heading, body, id=self.identifier, aria_labelledby=f"{self.identifier}-title")


def absence(data: ReportData, stage: str, never: str) -> str:
    """Why a section on `stage` is empty: `never`, or that its results are no longer those of the release."""
    if data.is_outdated(stage):
        return f"The workspace has run stage {stage!r} again since this release was made; its details are of another state and left out."
    return never


def note(*text: str) -> Markup:
    """A paragraph."""
    return element("p", *text)
