"""Licences and sources: images and species of each, and the terms."""

from __future__ import annotations

from markupsafe import Markup

from bioclip.licenses import license_url, needs_attribution
from bioclip.report.data.report_data import ReportData
from bioclip.report.data.samples.sample_summary import Origin
from bioclip.report.html.components import code, join, link, name_of, note, table
from bioclip.report.html.section import Section
from bioclip.report.html.text import number, percent

_TERMS = {"SA": "share alike", "NC": "no commercial use", "ND": "no derivatives"}


def licenses_section(data: ReportData) -> Section:
    """Licences and sources of all images, with their terms."""
    samples = data.samples
    if not samples.num_images:
        return Section("licenses", "Licences and sources", None, "This release considered no images.")
    attribution = note(
        "samples.parquet holds the licence of every sample as given and normalised, its rights holder and its creator; "
        "attribution.parquet lists them ready for use. Redistribution requires naming them and complying with each licence; photographs "
        "on this page are credited below the picture. Licences that forbid derivatives or commercial use can be excluded with ",
        code("ingest.licenses"),
        ".",
    )
    parts = [_license_table(data), _source_table(data), attribution]
    return Section("licenses", "Licences and sources", join(parts))


def _license_table(data: ReportData) -> Markup:
    rows = [
        (
            link(license_url(o.name), shown=name_of(o.name, 44)) if o.name else _other(o, "no licence stated"),
            *_counts(o, data.samples.num_samples),
            number(o.num_without_holder),
            "—" if o.is_rest else "required" if needs_attribution(o.name) else "not required",
            "—" if o.is_rest else _terms(o.name),
        )
        for o in data.samples.licenses
    ]
    header = ("Licence", "Samples", "Share", "Species", "Dropped", "No holder given", "Attribution", "Further terms")
    return table("Images by licence, with links to the texts", header, rows, numeric=(1, 2, 3, 4, 5))


def _source_table(data: ReportData) -> Markup:
    rows = [
        (
            name_of(o.name, 44) if o.name else _other(o, "(no source)"),
            *_counts(o, data.samples.num_samples),
            number(o.num_without_holder),
        )
        for o in data.samples.sources
    ]
    return table("Images by source", ("Source", "Samples", "Share", "Species", "Dropped", "No holder given"), rows, numeric=(1, 2, 3, 4, 5))


def _other(origin: Origin, nothing: str) -> str:
    return "all others" if origin.is_rest else nothing


def _counts(origin: Origin, num_samples: int) -> tuple[str, ...]:
    species = "—" if origin.num_species is None else number(origin.num_species)
    return number(origin.num_samples), percent(origin.num_samples, num_samples), species, number(origin.num_dropped)


def _terms(license_id: str) -> str:
    if license_id == "":
        return "unknown: all rights may be reserved"
    elements = license_id.split("-") if license_id.startswith("CC-") else []
    return ", ".join(term for short, term in _TERMS.items() if short in elements) or "—"
