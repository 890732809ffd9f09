"""Sections on what the release holds: taxa, species, licences and sources."""

from __future__ import annotations

from collections import defaultdict

from bioclip.report.charts import long_tail_chart
from bioclip.report.data import Origin, ReportData
from bioclip.report.markup import Markup, element, figure, join, name_of, number, percent, table
from bioclip.report.section import Section, note
from bioclip.report.sunburst import kingdom_color, sunburst

_NO_SAMPLES = "This release holds no samples, so there is nothing to draw."


def taxa_section(data: ReportData) -> Section:
    """Sunburst of the lineages with counts by kingdom."""
    samples = data.samples
    if not any(any(lineage) for lineage in samples.lineages):
        return Section("taxa", "Tree of life", None, _NO_SAMPLES)
    drawing = figure(
        "Rings from the centre: kingdom, phylum, class, order, family, genus; arcs by number of samples. A gap is a rank "
        "that stayed unresolved.",
        sunburst(samples.lineages),
    )
    return Section("taxa", "Tree of life", element("div", drawing, _kingdom_table(data), class_="beside"), "")


def _kingdom_table(data: ReportData) -> Markup:
    counts: defaultdict[str, int] = defaultdict(int)
    taxa: defaultdict[str, list[set[tuple[str, ...]]]] = defaultdict(lambda: [set() for _ in range(6)])
    for lineage, count in data.samples.lineages.items():
        counts[lineage[0]] += count
        for depth, name in enumerate(lineage):
            if name:
                taxa[lineage[0]][depth].add(lineage[: depth + 1])
    rows = []
    for kingdom in sorted(counts, key=lambda name: (-counts[name], name)):
        swatch = element("span", class_="swatch", style=f"background:{kingdom_color(kingdom)}")
        num_families, num_genera = len(taxa[kingdom][4]), len(taxa[kingdom][5])
        head = join([swatch, name_of(kingdom or "(unresolved)", 24)])
        share = percent(counts[kingdom], data.samples.num_samples)
        rows.append((head, number(counts[kingdom]), share, number(num_families), number(num_genera)))
    return table("Samples by kingdom", ("Kingdom", "Samples", "Share", "Families", "Genera"), rows, numeric=(1, 2, 3, 4))


def long_tail_section(data: ReportData) -> Section:
    """Images of each species, from the most to the least photographed."""
    sizes = data.samples.species_sizes
    if not sizes:
        return Section("long-tail", "Images per species", None, "No sample of this release is resolved to species.")
    num_images = sum(size * count for size, count in sizes.items())
    summary = note(
        f"{number(num_images)} images of {number(data.samples.num_species)} species; the median species has {number(_median(data))}, "
        f"the most photographed {number(max(sizes))}, and {number(sizes.get(1, 0))} species a single image."
    )
    chart = long_tail_chart(sizes)
    return Section(
        "long-tail",
        "Images per species",
        join([summary, figure("Species side by side; the height is the number of their images in all splits.", chart)]),
        "",
    )


def _median(data: ReportData) -> int:
    seen = 0
    for size in sorted(data.samples.species_sizes):
        seen += data.samples.species_sizes[size]
        if 2 * seen >= data.samples.num_species:
            return size
    return 0


def licenses_section(data: ReportData) -> Section:
    """Licences and sources of all images, with the note on attribution."""
    samples = data.samples
    if not samples.num_images:
        return Section("licenses", "Licences and sources", None, "This release considered no images.")
    tables = [
        _origin_table("Images by licence", "Licence", "no licence stated", samples.licenses),
        _origin_table("Images by source", "Source", "(no source)", samples.sources),
    ]
    attribution = note(
        "Every sample carries its licence as given and normalised, its rights holder and its creator in samples.parquet. Whoever passes "
        "images on must name them and keep to each licence; photographs on this page name theirs below the picture. "
        "Licences that forbid derivatives or commercial use are counted above and can be excluded with ",
        element("code", "ingest.licenses"),
        ".",
    )
    return Section("licenses", "Licences and sources", join([element("div", *tables, class_="columns"), attribution]), "")


def _origin_table(caption: str, head: str, nothing: str, origins: tuple[Origin, ...]) -> Markup:
    rows = [(name_of(o.name or nothing, 40), number(o.num_samples), number(o.num_dropped)) for o in origins]
    return table(caption, (head, "Samples", "Left out"), rows, numeric=(1, 2))
