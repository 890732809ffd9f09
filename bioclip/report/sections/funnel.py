"""From provider rows to splits: each step with what it dropped and why, so that every row is accounted for once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bioclip.report.charts.axes import Scale, label, svg
from bioclip.report.data.report_data import ReportData, StageSummary
from bioclip.report.data.sample_tally import BALANCE_REASONS
from bioclip.report.data.samples import DropGroup
from bioclip.report.html.markup import Markup, element, figure, join, name_of, number, percent, table
from bioclip.report.sections.section import Section, note
from bioclip.stages import STAGES, find_stage

DUPLICATE_REASONS = ("duplicate_bytes", "duplicate_pixels", "duplicate_near")
SPLIT_REASONS = ("evaluated_before", "above_heldout_species", "val_species_without_training", *BALANCE_REASONS)
"""Reasons that arise when splits are drawn, guarded and balanced; those of leakage begin with `leak_`."""
_WIDTH, _LEFT, _ROW_HEIGHT = 590.0, 124.0, 40.0


@dataclass(frozen=True)
class FunnelStep:
    """`kept` of `read` went on; `dropped` is by reason. `offset` is where a part of the step before begins, None for a step."""

    title: str
    kept: int
    read: int
    dropped: Mapping[str, int]
    offset: int | None = None


def _is_duplicate(drop: DropGroup) -> bool:
    return drop.reason in DUPLICATE_REASONS


def _is_late(drop: DropGroup) -> bool:
    return drop.reason in SPLIT_REASONS or drop.reason.startswith("leak_")


def _is_unnamed(drop: DropGroup) -> bool:
    return drop.num_unnamed == drop.count


RELEASE_STEPS: tuple[tuple[str, Callable[[DropGroup], bool]], ...] = (
    ("Not withdrawn", lambda drop: drop.reason == "taken_down"),
    ("Unique", _is_duplicate),
    ("In splits", _is_late),
    ("Named", _is_unnamed),
    ("Eligible", lambda drop: True),
)
"""Where an image dropped by the release leaves the funnel: at the first step that claims its reason."""
_ORDER = ("Not withdrawn", "Unique", "Named", "Eligible", "In splits")


def funnel_steps(data: ReportData) -> list[FunnelStep]:
    """Steps from the first stage that was run to the splits, each from what the one before left."""
    steps: list[FunnelStep] = []
    for name, title in (("records", "Records"), ("images", "Downloaded")):
        if (stage := data.stage(name)) is not None:
            if not steps:
                steps.append(FunnelStep(stage.unit.capitalize(), stage.counts.read, stage.counts.read, {}))
            steps.append(FunnelStep(title, stage.counts.written, stage.counts.read, stage.counts.dropped))
    left = data.samples.num_images
    if not steps:
        steps.append(FunnelStep("Images", left, left, {}))
    claimed: dict[str, dict[str, int]] = {title: {} for title in _ORDER}
    for drop in data.samples.drops:
        claimed[next(title for title, claims in RELEASE_STEPS if claims(drop))][drop.reason] = drop.count
    for title in _ORDER:
        if claimed[title] or title != "Not withdrawn":
            steps.append(FunnelStep(title, left - sum(claimed[title].values()), left, claimed[title]))
            left = steps[-1].kept
    if (shards := data.stage("shards")) is not None and shards.counts.dropped:
        steps.append(FunnelStep("In shards", shards.counts.written, shards.counts.read, shards.counts.dropped))
    return steps


def split_parts(data: ReportData) -> list[FunnelStep]:
    """The splits one after another: together they are the last step."""
    parts: list[FunnelStep] = []
    offset = 0
    for split in data.samples.splits:
        parts.append(FunnelStep(split.split, split.num_images, split.num_images, {}, offset))
        offset += split.num_images
    return parts


def funnel_section(data: ReportData) -> Section:
    """Step by step: what came, what was left out and why, what went on; then the counts of each stage."""
    title = "From provider rows to splits"
    if not data.stages:
        return Section("funnel", title, None, "No stage has been run in this workspace yet.")
    steps = funnel_steps(data)
    caption = "What goes on at each step; the hatched end of a bar is what that step dropped. All bars share one scale."
    parts: list[Markup] = [figure(caption, funnel_chart(steps, split_parts(data)))]
    parts += map(note, _broken_links(data, steps))
    parts.append(_steps_table(steps, data))
    stages = table(
        "Counts of each stage: read = written + dropped, checked by every stage and again here",
        ("Stage", "Reads", "Read", "Written", "Dropped", "Reasons"),
        [_stage_row(stage) for stage in data.stages],
        numeric=(2, 3, 4),
    )
    parts.append(element("details", element("summary", "The same by stage, with names and backbones"), stages))
    return Section("funnel", title, join(parts), "")


def _steps_table(steps: Sequence[FunnelStep], data: ReportData) -> Markup:
    rows = [
        (
            step.title,
            number(step.read),
            number(step.read - step.kept),
            number(step.kept),
            percent(step.kept, steps[0].read),
            reason_list(step.dropped) if step.dropped else "—",
        )
        for step in steps
    ]
    splits = ", ".join(f"{split.split} {number(split.num_images)}" for split in data.samples.splits)
    caption = f"Each step with its reasons; every image leaves once, for one reason. Splits: {splits or 'none'}"
    return table(caption, ("Step", "Came", "Left out", "Went on", "Of all", "Reasons"), rows, numeric=(1, 2, 3, 4))


def _broken_links(data: ReportData, steps: Sequence[FunnelStep]) -> list[str]:
    """A sentence for each place where what came is not what the step before had left."""
    stages = [summary for one in STAGES if one.passes_images and (summary := data.stage(one.name)) is not None]
    said = [
        f"Stage {after.stage} read {number(after.counts.read)} though {before.stage} had written {number(before.counts.written)}: "
        "they are not of one run."
        for before, after in pairwise(stages)
        if before.counts.written != after.counts.read
    ]
    in_splits = next(step.kept for step in reversed(steps) if step.title == "In splits")
    if in_splits != data.samples.num_samples:
        said.append(f"The splits hold {number(data.samples.num_samples)} though {number(in_splits)} should have come to them.")
    release = data.stage("release")
    if release is not None and (dropped := dict(release.counts.dropped)) != (found := {d.reason: d.count for d in data.samples.drops}):
        differing = sorted(reason for reason in dropped.keys() | found.keys() if dropped.get(reason) != found.get(reason))
        said.append(f"The table of images and the manifest disagree on what was dropped as {', '.join(differing)}.")
    return said


def _stage_row(stage: StageSummary) -> tuple[str, ...]:
    counts = stage.counts
    return (
        element("code", stage.stage),
        stage.unit,
        number(counts.read),
        join([number(counts.written), element("span", f" {find_stage(stage.stage).makes}", class_="unit")]),
        number(sum(counts.dropped.values())),
        reason_list(counts.dropped) if counts.dropped else "—",
    )


def reason_list(reasons: Mapping[str, int]) -> Markup:
    """Reasons with their counts, the most frequent first."""
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    items = (element("li", element("code", name_of(reason)), f" {number(count)}") for reason, count in ordered)
    return element("ul", *items, class_="reasons")


def funnel_chart(steps: Sequence[FunnelStep], parts: Sequence[FunnelStep] = ()) -> Markup:
    """One bar a step, all to the scale of the largest, what was dropped hatched at its end; `parts` are drawn one behind the other."""
    scale = Scale(0, max([1, *(step.read for step in steps)]), _LEFT, _WIDTH - 112)
    rows = [_row(step, index * _ROW_HEIGHT + 6, scale) for index, step in enumerate([*steps, *parts])]
    said = "; ".join(f"{step.title}: {step.kept} of {step.read}" for step in steps)
    held = f" Splits: {', '.join(f'{part.title} {part.kept}' for part in parts)}." if parts else ""
    title = f"From provider rows to splits. {said}.{held}"
    return svg(_WIDTH, (len(steps) + len(parts)) * _ROW_HEIGHT, title, _hatch(), *rows)


def _row(step: FunnelStep, top: float, scale: Scale) -> Markup:
    start = step.offset or 0
    start_px, kept_px, read_px = scale(start), scale(start + step.kept), scale(start + step.read)
    style = "bar" if step.offset is None else "bar part"
    drawn = [
        label(_LEFT - 10, top + 19, step.title, "end", "strong" if step.offset is None else None),
        element("rect", x=start_px, y=top, width=kept_px - start_px, height=28.0, rx=2, class_=style),
    ]
    if lost := step.read - step.kept:
        drawn.append(
            element(
                "rect", element("title", f"{number(lost)} dropped"), x=kept_px, y=top, width=read_px - kept_px, height=28.0, class_="lost"
            )
        )
        drawn.append(label(read_px + 8, top + 26, f"−{number(lost)} ({percent(lost, step.read)})", class_="loss"))
    drawn.append(label(read_px + 8, top + (12 if lost else 19), number(step.kept), class_="strong"))
    return join(drawn)


def _hatch() -> Markup:
    stripe = element("path", d="M0,6L6,0", class_="stripe")
    return element("defs", element("pattern", stripe, id="hatch", width=6, height=6, patternUnits="userSpaceOnUse"))
