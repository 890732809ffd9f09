"""Names by rank: how many samples have a name at each rank."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup

from bioclip.records import RANKS
from bioclip.report.charts.axes import Scale, horizontal_axis
from bioclip.report.charts.svg import element, label, svg
from bioclip.report.data.report_data import ReportData
from bioclip.report.data.samples.sample_summary import NamedRanks, SampleSummary
from bioclip.report.html.components import columns, figure, join, name_of, note, table
from bioclip.report.html.section import Section
from bioclip.report.html.text import number, percent

MAX_KINGDOMS = 12


@dataclass(frozen=True)
class RankCoverage:
    """Samples and images (samples and dropped images) that are named at `rank`, samples with their lowest name there, and taxa."""

    rank: str
    num_samples: int
    num_images: int
    num_lowest: int
    num_taxa: int


def coverage_of(samples: SampleSummary) -> list[RankCoverage]:
    """One entry per rank, from the root."""
    taxa = _distinct_taxa(samples)
    return [
        RankCoverage(
            rank=rank,
            num_samples=sum(named.num_samples for named in samples.named if named.ranks[place]),
            num_images=sum(named.num_images for named in samples.named if named.ranks[place]),
            num_lowest=sum(named.num_samples for named in samples.named if _lowest(named) == place),
            num_taxa=taxa[place],
        )
        for place, rank in enumerate(RANKS)
    ]


def _lowest(named: NamedRanks) -> int:
    return max((place for place, is_named in enumerate(named.ranks) if is_named), default=-1)


def _distinct_taxa(samples: SampleSummary) -> list[int]:
    above = [len({lineage[: place + 1] for lineage in samples.lineages if lineage[place]}) for place in range(len(RANKS) - 1)]
    return [*above, samples.num_species]


def coverage_section(data: ReportData) -> Section:
    """Shares by rank, of all and of each kingdom."""
    samples, title = data.samples, "Names by rank"
    if not samples.num_samples:
        return Section("coverage", title, None, "This release holds no samples, so there are no names.")
    ranks = coverage_of(samples)
    unnamed = sum(named.num_samples for named in samples.named if not any(named.ranks))
    species = ranks[-1]
    summary = note(
        f"{percent(species.num_samples, samples.num_samples)} of the samples are named to species; of all images, dropped ones included, "
        f"{percent(species.num_images, samples.num_images)}."
        + (f" {number(unnamed)} samples have no name at any rank." if unnamed else "")
        + " A rank counts as named if the accepted lineage has a name there; backbones have gaps."
    )
    rows = [
        (
            rank.rank,
            number(rank.num_samples),
            percent(rank.num_samples, samples.num_samples),
            percent(rank.num_images, samples.num_images),
            number(rank.num_lowest),
            number(rank.num_taxa),
        )
        for rank in ranks
    ]
    header = ("Rank", "Samples", "Share", "Of all images", "Lowest name", "Taxa")
    numbers = table("Samples named at each rank, and samples whose lowest name is at that rank", header, rows, numeric=(1, 2, 3, 4, 5))
    chart = figure(
        "Share named at each rank: bars show samples, marks show all images including dropped ones.", coverage_chart(ranks, samples)
    )
    parts = [summary, columns(chart, numbers), _kingdom_table(samples)]
    return Section("coverage", title, join(parts))


def coverage_chart(ranks: list[RankCoverage], samples: SampleSummary) -> Markup:
    """A bar per rank over the samples, with a mark at the share of all images."""
    width, left, row_height = 440.0, 84.0, 27.0
    bottom = len(ranks) * row_height + 6
    across = Scale(0, 1, left, width - 72)
    rows = []
    for place, rank in enumerate(ranks):
        top = place * row_height + 5
        share, of_images = rank.num_samples / samples.num_samples, rank.num_images / samples.num_images
        hover = element("title", f"{rank.rank}: {percent(share)} of samples, {percent(of_images)} of all images")
        rows.append(label(left - 10, top + 14, rank.rank, "end", "strong"))
        rows.append(element("rect", hover, x=left, y=top, width=across(share) - left, height=19.0, rx=2, class_="bar"))
        rows.append(element("rect", x=across(of_images) - 1.5, y=top - 2, width=3.0, height=23.0, class_="mark"))
        rows.append(label(width - 4, top + 14, percent(share), "end", "strong"))
    axis = horizontal_axis(across, 2, bottom, lambda value: percent(value, digits=0), "share named", 4)
    description = "; ".join(f"{rank.rank} {percent(rank.num_samples, samples.num_samples)}" for rank in ranks)
    return svg(width, bottom + 40, f"Share of samples named at each rank: {description}.", axis, *rows)


def _kingdom_table(samples: SampleSummary) -> Markup:
    totals: dict[str, int] = {}
    for named in samples.named:
        totals[named.kingdom] = totals.get(named.kingdom, 0) + named.num_samples
    kingdoms = sorted((name for name, count in totals.items() if count), key=lambda name: (-totals[name], name))
    rows = [
        (
            name_of(kingdom or "(no kingdom)", 24),
            number(totals[kingdom]),
            *_shares([named for named in samples.named if named.kingdom == kingdom], totals[kingdom]),
        )
        for kingdom in kingdoms[:MAX_KINGDOMS]
    ]
    left_out = f"; the first {MAX_KINGDOMS} of {number(len(kingdoms))}" if len(kingdoms) > MAX_KINGDOMS else ""
    header = ("Kingdom", "Samples", *(rank.capitalize() for rank in RANKS[1:]))
    return table(f"Share of each kingdom's samples named at each rank{left_out}", header, rows, numeric=range(1, len(RANKS) + 1))


def _shares(named: Iterable[NamedRanks], whole: int) -> list[str]:
    entries = list(named)
    return [percent(sum(entry.num_samples for entry in entries if entry.ranks[place]), whole) for place in range(1, len(RANKS))]
