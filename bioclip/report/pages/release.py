"""The whole page: one file that needs nothing beside itself."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files

from bioclip.report.data.report_data import ReportData, StageSummary
from bioclip.report.html.markup import Markup, element, join, name_of, number, plain, table
from bioclip.report.sections.coverage import coverage_section
from bioclip.report.sections.funnel import funnel_section
from bioclip.report.sections.galleries import dropped_section, duplicates_section, sheets_section, specimens
from bioclip.report.sections.licenses import licenses_section
from bioclip.report.sections.long_tail import long_tail_section
from bioclip.report.sections.map import places_section
from bioclip.report.sections.model import scores_section, training_section
from bioclip.report.sections.section import Section
from bioclip.report.sections.stages import downloads_section, names_section, splits_section
from bioclip.report.sections.taxa import taxa_section


def lineage_section(data: ReportData) -> Section:
    """Digests of everything the page was made from, and the settings."""
    inputs = table(
        "What this page was made from (SHA-256 of each file)",
        ("Input", "Digest"),
        [(name_of(what), element("code", digest, class_="digest")) for what, digest in data.inputs],
    )
    stages = table(
        "Outputs of each stage (SHA-256 over their names and digests)",
        ("Stage", "Digest", "In the workspace"),
        [(element("code", s.stage), element("code", s.digest, class_="digest"), _state(s)) for s in data.stages],
    )
    parts = [inputs, stages] if data.stages else [inputs]
    if data.settings:
        rows = [(element("code", key), name_of(value, 90)) for key, value in data.settings]
        summary = element("summary", f"Settings that decide results ({number(len(rows))})")
        parts.append(element("details", summary, table("Settings", ("Key", "Value"), rows)))
    return Section("lineage", "Line of descent", join(parts), "")


def _state(stage: StageSummary) -> str:
    return "the same" if stage.is_current else "run again since, with another result"


SECTIONS: tuple[Callable[[ReportData], Section], ...] = (
    funnel_section,
    downloads_section,
    taxa_section,
    coverage_section,
    long_tail_section,
    splits_section,
    sheets_section,
    places_section,
    duplicates_section,
    dropped_section,
    names_section,
    licenses_section,
    training_section,
    scores_section,
    lineage_section,
)
"""In the order of the page."""


def render_sections(data: ReportData) -> list[Section]:
    """All sections, those without data included."""
    return [make(data) for make in SECTIONS]


def render_page(data: ReportData, sections: list[Section]) -> bytes:
    """The page as UTF-8; the same bytes for the same data."""
    links = [element("li", element("a", section.title, href=f"#{section.identifier}")) for section in sections]
    navigation = element("nav", element("ul", *links), aria_label="Sections")
    main = element("main", *(section.render() for section in sections), id="main")
    return render_document(f"{plain(data.name)} {data.version}", _header(data), navigation, main, _footer(data))


def render_document(title: str, *body: Markup) -> bytes:
    """A page of the report's kind as UTF-8: its style within, nothing fetched, no script run."""
    css = Markup(files("bioclip.report").joinpath("report.css").read_text(encoding="utf-8"))
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        element("title", title),
        element("style", css),
    )
    skip = element("a", "Skip to the content", href="#main", class_="skip")
    return f"<!doctype html>\n{element('html', head, element('body', skip, *body), lang='en')}\n".encode()


def _header(data: ReportData) -> Markup:
    title = element("h1", name_of(data.name or "release", 80))
    digest = element("code", data.digest, class_="digest")
    version = element("p", "Release ", element("code", data.version), ", manifest ", digest, class_="version")
    tiles = [element("div", element("dt", what), element("dd", number(count))) for what, count in _headline(data)]
    return element(
        "header", element("p", "Dataset report", class_="kicker"), title, version, element("dl", *tiles), specimens(data), class_="top"
    )


def _headline(data: ReportData) -> list[tuple[str, int]]:
    samples = data.samples
    lineages = [lineage for lineage in samples.lineages if any(lineage)]
    rows = [("provider rows", stage.counts.read)] if (stage := data.stage("records")) else []
    return [
        *rows,
        ("images downloaded", samples.num_images),
        ("samples", samples.num_samples),
        ("species", samples.num_species),
        ("families", len({lineage[:5] for lineage in lineages if lineage[4]})),
        ("sources", sum(1 for origin in samples.sources if origin.num_samples)),
    ]


def _footer(data: ReportData) -> Markup:
    text = f"Made from release {data.version} by bioclip-pipeline; the same inputs give the same page, byte for byte."
    return element("footer", element("p", text))
