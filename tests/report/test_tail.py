"""The long tail and the coverage of ranks: the numbers equal the release's, and the curves follow them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from bioclip import layout
from bioclip.records import RANKS
from bioclip.report.charts.axes import Scale
from bioclip.report.charts.rank_frequency import TailCurve, long_tail_chart
from bioclip.report.data.report_data import ReportData
from bioclip.report.data.samples.sample_counts import BALANCE_REASONS
from bioclip.report.data.samples.sample_summary import SplitSummary
from bioclip.report.data.workspace_report import gather_report
from bioclip.report.sections.coverage import coverage_of, coverage_section
from bioclip.report.sections.long_tail import long_tail_section
from bioclip.selection.balance import balance_training
from bioclip.selection.long_tail import tail_statistics
from bioclip.settings import ReleaseSettings
from tests.conftest import Curated
from tests.selection.rows import candidates_of, rows_of

from .workspace import LINEAGES, VERSION, Workspace, fill, sample_photos


@pytest.fixture
def data(new_workspace: Callable[[], Workspace]) -> ReportData:
    return gather_report(fill(new_workspace(), {"fungi": 24}).write(), VERSION)


@pytest.fixture
def balanced(tmp_path: Path) -> tuple[Workspace, dict[str, object]]:
    """A release whose training was cut by floor, threshold and cap, and the tail that the release wrote of it."""
    workspace = Workspace(tmp_path / "balanced")
    photos = sample_photos({"fish": 30})
    for index, (path, body) in enumerate(photos):
        lineage = LINEAGES["fish"][0 if index < 16 else 1 if index < 25 else 2 if index < 29 else 3]
        workspace.add_photo(path, body, lineage, accepted_id=lineage.split("|")[-1])
    candidates = candidates_of({**row, "backbone": "sample"} for row in workspace.samples)
    tail = balance_training(candidates, ReleaseSettings(min_per_species=2, max_per_species=5, balance_threshold=9))
    for row, decided in zip(workspace.samples, rows_of(candidates), strict=True):
        row.update({name: decided[name] for name in ("split", "drop_reason", "drop_detail")})
    workspace.write()
    workspace.write_release(tail=tail)
    return workspace, tail


def test_both_curves_are_those_of_the_release_before_and_after_balancing(balanced: tuple[Workspace, dict[str, object]]) -> None:
    workspace, tail = balanced
    data = gather_report(workspace.storage, VERSION)
    (train,) = [split for split in data.samples.splits if split.split == "train"]
    for sizes, moment in ((data.samples.unbalanced_sizes, "before"), (train.species_sizes, "after")):
        counted = tail_statistics(size for size, count in sizes.items() for _ in range(count))
        assert counted == tail[moment]["species"]  # type: ignore[index]
    assert data.samples.unbalanced_sizes == {16: 1, 9: 1, 4: 1, 1: 1}
    assert max(train.species_sizes) == 5
    assert {row["drop_reason"] for row in workspace.samples} - {""} <= set(BALANCE_REASONS)
    section = long_tail_section(data).render()
    assert section.count('class="dashed"') == 1
    assert "before balancing</span>" in section
    assert "Training by taxon of any rank, from the release&#39;s manifest" in section


def test_without_balancing_there_is_one_curve(data: ReportData) -> None:
    section = long_tail_section(data).render()
    assert data.samples.unbalanced_sizes == {}
    assert 'class="dashed"' not in section
    assert "before balancing" not in section
    assert layout.in_splits(layout.LONG_TAIL) not in section


def test_species_of_each_split_are_counted_as_the_release_counts_them(curated: Curated) -> None:
    data = gather_report(curated.storage, curated.release.version)
    rows = curated.release.samples(["split", "species"]).to_pylist()
    for split in data.samples.splits:
        species = Counter(row["species"] for row in rows if row["split"] == split.split and row["species"])
        assert dict(split.species_sizes) == dict(Counter(species.values()))


@pytest.mark.parametrize(
    "sizes", [{1: 1}, {1: 900_000, 7: 40_000, 50_000: 3}, {12: 4}, {size: 1 + 9_000 // size for size in range(1, 9_000)}]
)
def test_a_curve_starts_at_the_first_rank_ends_at_the_last_and_never_rises(sizes: dict[int, int]) -> None:
    drawing = long_tail_chart([TailCurve("training", sizes)])
    assert len(drawing) < 30_000
    assert "nan" not in drawing.lower()
    points = [tuple(map(float, point.split(","))) for point in re.findall(r'd="M([^"]+)"', drawing)[0].split("L")]
    assert points[0][0] == 56.0
    num_species = sum(sizes.values())
    assert points[-1][0] == pytest.approx(Scale(1, max(10, num_species), 56.0, 416.0, is_log=True)(num_species), abs=0.06)
    assert all(after[0] >= before[0] - 0.05 and after[1] >= before[1] - 0.05 for before, after in pairwise(points))


def test_curves_share_one_pair_of_axes() -> None:
    drawing = long_tail_chart([TailCurve("before", {1_000: 1, 1: 99}, "dashed"), TailCurve("after", {100: 1, 1: 99})])
    (before, after) = re.findall(r'd="M([^"]+)" class="(?:dashed|line)"', drawing)
    first_before, first_after = (float(curve.split("L")[0].split(",")[1]) for curve in (before, after))
    assert first_before < first_after
    assert before.split("L")[-1] == after.split("L")[-1]
    assert "before: 100 species, from 1,000 images down to 1; after: 100 species" in drawing


def test_the_median_species_is_named_for_even_and_odd_numbers(data: ReportData) -> None:
    def said(sizes: dict[int, int]) -> str:
        splits = (SplitSummary("train", 1, sum(sizes.values()), 1, 0, sizes),)
        return long_tail_section(replace(data, samples=replace(data.samples, species_sizes=sizes, splits=splits))).render()

    assert "17 samples of 3 species in all splits; the median species has 2," in said({14: 1, 2: 1, 1: 1})
    assert "and 900,000 species have one." in said({5: 3, 1: 900_000})


def test_coverage_counts_names_at_each_rank_of_samples_and_of_all_images(curated: Curated) -> None:
    data = gather_report(curated.storage, curated.release.version)
    rows = curated.release.samples(["split", *RANKS]).to_pylist()
    samples = [row for row in rows if row["split"]]
    for place, rank in enumerate(coverage_of(data.samples)):
        assert rank.num_samples == sum(bool(row[rank.rank]) for row in samples)
        assert rank.num_images == sum(bool(row[rank.rank]) for row in rows)
        assert rank.num_taxa == len({tuple(row[r] for r in RANKS[: place + 1]) for row in samples if row[rank.rank]})
        assert rank.num_lowest == sum(bool(row[rank.rank]) and not any(row[below] for below in RANKS[place + 1 :]) for row in samples)


def test_every_sample_has_one_lowest_name_or_none(data: ReportData) -> None:
    unnamed = sum(named.num_samples for named in data.samples.named if not any(named.ranks))
    assert sum(rank.num_lowest for rank in coverage_of(data.samples)) + unnamed == data.samples.num_samples


def test_kingdoms_are_shown_with_their_own_shares(curated: Curated) -> None:
    section = coverage_section(gather_report(curated.storage, curated.release.version)).render()
    table = section.split("Share of each kingdom")[-1]
    cells = {row[0]: row[1:] for row in (re.findall(r">([^<>]+)</(?:bdi|td)>", row) for row in table.split("<tr>")[2:])}
    rows = [row for row in curated.release.samples(["split", *RANKS]).to_pylist() if row["split"]]
    for kingdom, (count, *shares) in cells.items():
        mine = [row for row in rows if row["kingdom"] == kingdom]
        assert int(count) == len(mine)
        assert shares == [f"{100 * sum(bool(row[rank]) for row in mine) / len(mine):.1f}\N{NO-BREAK SPACE}%" for rank in RANKS[1:]]
    assert set(cells) == {row["kingdom"] for row in rows}
