"""Images per species: the long tail in training, before and after balancing, and in the other splits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup

from bioclip.report.charts.rank_frequency import Sizes, TailCurve, long_tail_chart
from bioclip.report.data.report_data import ReportData
from bioclip.report.html.components import columns, figure, join, note, table
from bioclip.report.html.section import Section
from bioclip.report.html.text import number, percent
from bioclip.selection.long_tail import tail_statistics

_ORDINALS = ("1st", "2nd", "3rd", *(f"{place}th" for place in range(4, 11)))


def long_tail_section(data: ReportData) -> Section:
    """Rank-frequency curves with their numbers."""
    title, curves, sizes = "Images per species", _curves(data), _sizes_by_split(data)
    if not sizes:
        return Section("long-tail", title, None, "No sample of this release is resolved to species.")
    parts = [note(_summary(data))]
    tables = [_decile_table(sizes), _statistics_table(sizes)]
    if curves:
        keys = [(f"stroke {curve.style}", curve.title) for curve in curves]
        caption = "Species ranked by their training images; both scales are logarithmic, so a power law is a straight line."
        parts.append(columns(figure(caption, long_tail_chart(curves), keys), tables.pop(0)))
    parts += [*tables, *_taxa_table(data)]
    return Section("long-tail", title, join(parts))


def _curves(data: ReportData) -> list[TailCurve]:
    samples = data.samples
    train = next((split.species_sizes for split in samples.splits if split.split == "train"), {})
    before = [TailCurve("before balancing", samples.unbalanced_sizes, "dashed")] if samples.unbalanced_sizes else []
    after = [TailCurve("training after balancing" if before else "training", train)] if train else []
    return before + after


def _sizes_by_split(data: ReportData) -> list[tuple[str, Sizes]]:
    splits = [(split.split, split.species_sizes) for split in data.samples.splits if split.species_sizes]
    return [("train, unbalanced", data.samples.unbalanced_sizes), *splits] if data.samples.unbalanced_sizes else splits


def _summary(data: ReportData) -> str:
    sizes = data.samples.species_sizes
    num_images = sum(size * count for size, count in sizes.items())
    return (
        f"{number(num_images)} samples of {number(data.samples.num_species)} species in all splits; the median species has "
        f"{number(_median(sizes))}, the largest has {number(max(sizes, default=0))}, and {number(sizes.get(1, 0))} species have one."
    )


def _median(sizes: Sizes) -> int:
    seen, whole = 0, sum(sizes.values())
    for size in sorted(sizes):
        seen += sizes[size]
        if 2 * seen >= whole:
            return size
    return 0


def _statistics(sizes: Sizes) -> dict[str, Any]:
    return tail_statistics(size for size, count in sizes.items() for _ in range(count))


def _statistics_table(sizes_by_split: Sequence[tuple[str, Sizes]]) -> Markup:
    found = [(_statistics(sizes), sizes.get(1, 0)) for _, sizes in sizes_by_split]
    rows: list[tuple[str, ...]] = [
        ("species", *(number(tail["num_taxa"]) for tail, _ in found)),
        ("images named to species", *(number(tail["num_images"]) for tail, _ in found)),
        ("images of the largest species", *(number(tail["largest"]) for tail, _ in found)),
        ("median images", *(f"{tail['median']:,g}" for tail, _ in found)),
        ("species with one image", *(number(single) for _, single in found)),
        ("share of the largest 1 % of species", *(percent(tail["top_percent_share"]) for tail, _ in found)),
        ("Gini coefficient", *(f"{tail['gini']:.3f}" for tail, _ in found)),
        ("effective species", *(f"{tail['effective_taxa']:,.1f}" for tail, _ in found)),
    ]
    caption = "Evenness. Gini: 0 if all species have equally many images. Effective species: that many equal species are as diverse"
    return table(caption, ("", *(name for name, _ in sizes_by_split)), rows, numeric=range(1, len(sizes_by_split) + 1))


def _decile_table(sizes_by_split: Sequence[tuple[str, Sizes]]) -> Markup:
    found = [_statistics(sizes) for _, sizes in sizes_by_split]
    rows = [
        (f"{place} tenth", *(percent(tail["images_by_decile"][index], tail["num_images"]) for tail in found))
        for index, place in enumerate(_ORDINALS)
    ]
    caption = "Share of images by tenths of the species, largest species first"
    return table(caption, ("Species", *(name for name, _ in sizes_by_split)), rows, range(1, len(sizes_by_split) + 1), "dense")


def _taxa_table(data: ReportData) -> Iterator[Markup]:
    """Statistics of taxa of any rank from the release's manifest, where balancing was configured."""
    if not data.tail:
        return
    fields = {"num_taxa": "taxa", "num_images": "images", "largest": "images of the largest", "gini": "Gini coefficient",
              "effective_taxa": "effective taxa"}  # fmt: skip
    moments = [moment for moment in ("before", "after") if moment in data.tail]
    rows = [(title, *(f"{data.tail[moment]['taxa'][name]:,}" for moment in moments)) for name, title in fields.items()]
    yield table("Training by taxon of any rank, from the release's manifest", ("", *moments), rows, range(1, len(moments) + 1))
