"""Splits: images, species and occurrences of each, and random samples."""

from __future__ import annotations

from bioclip.report.data.report_data import ReportData
from bioclip.report.html.components import code, group, heading, join, name_of, note, table
from bioclip.report.html.photographs import tile
from bioclip.report.html.section import Section
from bioclip.report.html.text import number, percent

SPLIT_MEANINGS = {
    "train": "images to train on",
    "val": "other occurrences of species in train",
    "heldout": "species that are not in train",
}


def splits_section(data: ReportData) -> Section:
    """Images, species and occurrences of each split."""
    if not data.samples.num_samples:
        return Section("splits", "Splits", None, "This release holds no samples, so there are no splits.")
    rows = [
        (
            code(split.split),
            SPLIT_MEANINGS.get(split.split, ""),
            number(split.num_images),
            percent(split.num_images, data.samples.num_samples),
            number(split.num_species),
            number(split.num_occurrences),
            number(split.num_shards) if split.num_shards else "—",
        )
        for split in data.samples.splits
    ]
    header = ("Split", "Content", "Images", "Share", "Species", "Occurrences", "Shards")
    caption = "Splits of the release; images of one occurrence are always in the same split"
    return Section("splits", "Splits", table(caption, header, rows, numeric=(2, 3, 4, 5, 6)))


def random_samples_section(data: ReportData) -> Section:
    """A few samples of each split, drawn with a seed that depends on the release's version."""
    title, shown = "Random samples of each split", [split for split in data.samples.splits if split.sheet]
    if not shown:
        return Section("sheets", title, None, "This release holds no samples to show.")
    parts = [
        note("Drawn at random from each split. The seed is the release's version, so a rerun shows the same. Names link to the source.")
    ]
    for split in shown:
        parts.append(heading(code(name_of(split.split)), f"{number(len(split.sheet))} of {number(split.num_images)}"))
        parts.append(group("tiles sheet", *map(tile, split.sheet)))
    return Section("sheets", title, join(parts))
