"""The funnel: every provider row is counted once, with the step and the reason of its drop."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from bioclip.accounting import Counts
from bioclip.report.data.report_data import ReportData, StageSummary
from bioclip.report.data.samples.sample_summary import DropGroup
from bioclip.report.data.workspace_report import STAGE_UNITS, gather_report
from bioclip.report.sections.funnel import FunnelStep, funnel_chart, funnel_section, funnel_steps, split_parts
from bioclip.stages import STAGES
from tests.conftest import Curated

from .workspace import VERSION, Workspace, fill


@pytest.fixture
def data(new_workspace: Callable[[], Workspace]) -> ReportData:
    return gather_report(fill(new_workspace(), {"fungi": 24}).write(), VERSION)


def with_drops(data: ReportData, *drops: DropGroup) -> ReportData:
    num_images = sum(drop.count for drop in drops) + data.samples.num_samples
    return replace(data, stages=(), samples=replace(data.samples, drops=drops, num_images=num_images))


def test_steps_of_the_bundled_sample_lead_from_its_rows_to_its_splits(unconfirmed: Curated) -> None:
    data = gather_report(unconfirmed.storage, unconfirmed.release.version)
    steps = funnel_steps(data)
    assert [step.title for step in steps] == ["Provider rows", "Records", "Downloaded", "Unique", "Named", "Eligible", "In splits"]
    assert all(step.kept + sum(step.dropped.values()) == step.read for step in steps)
    assert all(after.read == before.kept for before, after in pairwise(steps))
    assert steps[-1].kept == sum(part.kept for part in split_parts(data)) == data.samples.num_samples
    release = {reason: count for step in steps[3:] for reason, count in step.dropped.items()}
    assert release == unconfirmed.release.manifest["counts"]["release"]["dropped"]
    assert set(steps[3].dropped) == {"duplicate_near", "duplicate_bytes"}
    assert {"non_taxon", "empty_name", "not_in_backbone"} <= set(steps[4].dropped)
    assert set(steps[6].dropped) == {"leak_near"}


def test_each_reason_leaves_at_the_step_it_belongs_to(data: ReportData) -> None:
    drops = [
        DropGroup("release", reason, count, num_unnamed=unnamed)
        for reason, count, unnamed in [
            ("taken_down", 1, 0), ("duplicate_pixels", 2, 1), ("homonym_ambiguous", 4, 4), ("rank_above_minimum", 8, 0),
            ("label_conflict", 16, 0), ("leak_observer_day", 32, 0), ("evaluated_before", 64, 0), ("species_over_cap", 128, 0),
            ("val_species_without_training", 256, 0),
        ]
    ]  # fmt: skip
    steps = {step.title: step for step in funnel_steps(with_drops(data, *drops))}
    left = {title: step.read - step.kept for title, step in steps.items() if step.read > step.kept}
    assert left == {"Not withdrawn": 1, "Unique": 2, "Named": 4, "Eligible": 24, "In splits": 480}
    assert steps["In splits"].kept == data.samples.num_samples


def test_the_table_of_steps_adds_up_as_it_is_printed(full_page: str) -> None:
    table = next(part for part in full_page.split("<table") if "<caption>Each step with its drop reasons" in part)
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in table.split("<tbody>")[1].split("<tr>")[1:]]
    assert len(rows) == 7
    for _, came, left_out, went_on, _, reasons in rows:
        whole, lost, kept = (int(text.replace(",", "")) for text in (came, left_out, went_on))
        assert whole == lost + kept
        assert lost == sum(int(count) for count in re.findall(r"</code> (\d+)", reasons))
    assert all(after[1] == before[3] for before, after in pairwise(rows))


def test_a_stage_that_read_other_than_was_written_before_is_pointed_out(data: ReportData) -> None:
    assert "not from the same run" not in funnel_section(data).render()
    stages = [stage for stage in data.stages if stage.stage != "release"]
    torn = replace(data, stages=(*stages, StageSummary("release", "images", Counts(5, 5), "0" * 64)))
    written = next(stage.counts.written for stage in stages if stage.stage == "images")
    assert f"Stage release read 5 rows but images wrote {written}: the two are not from the same run." in funnel_section(torn).render()


def test_a_manifest_that_counts_other_drops_than_the_table_is_pointed_out(data: ReportData) -> None:
    assert "disagree" not in funnel_section(data).render()
    fewer = replace(data, samples=replace(data.samples, drops=data.samples.drops[1:]))
    reason = data.samples.drops[0].reason
    section = funnel_section(fewer).render()
    assert f"disagree on the number dropped as {reason}." in section


def test_images_that_left_without_a_reason_are_pointed_out(data: ReportData) -> None:
    assert "are expected" not in funnel_section(data).render()
    fewer = replace(data, samples=replace(data.samples, num_samples=data.samples.num_samples - 1))
    num_left = data.samples.num_samples
    assert f"The splits hold {num_left - 1} images but {num_left} are expected." in funnel_section(fewer).render()


def test_every_stage_of_the_funnel_has_a_unit() -> None:
    assert {stage.name for stage in STAGES if stage.passes_images} <= set(STAGE_UNITS)


def test_bars_are_as_long_as_their_counts() -> None:
    steps = [FunnelStep("Rows", 100, 100, {}), FunnelStep("Records", 75, 100, {}), FunnelStep("Images", 50, 75, {})]
    drawing = funnel_chart(steps)
    kept = [float(width) for width in re.findall(r'width="([\d.]+)" height="28" rx="2" class="bar"', drawing)]
    lost = [float(width) for width in re.findall(r'width="([\d.]+)" height="28" class="lost"', drawing)]
    assert kept == pytest.approx([kept[0], kept[0] * 0.75, kept[0] * 0.5])
    assert lost == pytest.approx([kept[0] * 0.25] * 2)
    assert "−25 (33.3\N{NO-BREAK SPACE}%)" in drawing


def test_parts_are_drawn_one_behind_the_other() -> None:
    parts = [FunnelStep("train", 30, 30, {}, 0), FunnelStep("val", 10, 10, {}, 30)]
    drawing = funnel_chart([FunnelStep("In splits", 40, 40, {})], parts)
    (x, width), (first, first_width), (second, second_width) = (
        (float(x), float(width)) for x, width in re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)" height="28" rx="2"', drawing)
    )
    assert (first, second) == pytest.approx((x, x + 0.75 * width), abs=0.02)
    assert first_width + second_width == pytest.approx(width, abs=0.02)


def test_a_funnel_of_nothing_is_still_drawn() -> None:
    assert "NaN" not in funnel_chart([FunnelStep("Rows", 0, 0, {})])
