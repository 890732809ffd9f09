"""Random samples of each split."""

from __future__ import annotations

from bioclip.report.data.report_data import ReportData
from bioclip.report.html.components import code, group, heading, join, name_of, note
from bioclip.report.html.photographs import tile
from bioclip.report.html.section import Section
from bioclip.report.html.text import number


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
