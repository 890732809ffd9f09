"""The section on the taxa that the release holds."""

from __future__ import annotations

from collections import defaultdict

from markupsafe import Markup

from bioclip.report.charts.sunburst import kingdom_color, sunburst
from bioclip.report.data.report_data import ReportData
from bioclip.report.html.components import figure, group, name_of, swatch, table
from bioclip.report.html.section import Section
from bioclip.report.html.text import number, percent

_NO_SAMPLES = "This release holds no samples, so there is nothing to draw."
_NO_LINEAGES = "No sample has a lineage: the labels are not names of a backbone, so there is no tree to draw."


def taxa_section(data: ReportData) -> Section:
    """A sunburst of the lineages, with counts by kingdom."""
    samples = data.samples
    if not any(any(lineage) for lineage in samples.lineages):
        return Section("taxa", "Tree of life", None, _NO_LINEAGES if samples.num_samples else _NO_SAMPLES)
    drawing = figure(
        "Rings from the centre: kingdom, phylum, class, order, family, genus. The length of an arc is its number of samples; a gap is an "
        "unresolved rank.",
        sunburst(samples.lineages),
    )
    return Section("taxa", "Tree of life", group("beside", drawing, _kingdom_table(data)))


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
        num_families, num_genera = len(taxa[kingdom][4]), len(taxa[kingdom][5])
        head = swatch(kingdom_color(kingdom), name_of(kingdom or "(unresolved)", 24))
        share = percent(counts[kingdom], data.samples.num_samples)
        rows.append((head, number(counts[kingdom]), share, number(num_families), number(num_genera)))
    return table("Samples by kingdom", ("Kingdom", "Samples", "Share", "Families", "Genera"), rows, numeric=(1, 2, 3, 4))
