"""From provider rows to splits: what each step dropped and why; every row is counted once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from bioclip.drop_reasons import find_reason, reasons_of_step
from bioclip.report.charts.axes import Scale
from bioclip.report.charts.svg import element, label, svg
from bioclip.report.charts.svg import join as join_svg
from bioclip.report.data.report_data import ReportData, StageSummary
from bioclip.report.data.samples.sample_summary import DropGroup
from bioclip.report.html.components import code, details, figure, join, note, reason_glossary, reason_list, span, table
from bioclip.report.html.section import Section
from bioclip.report.html.text import number, percent
from bioclip.stages import STAGES, find_stage

_LATE_REASONS = frozenset({*reasons_of_step("splits"), *reasons_of_step("balance")})
"""Reasons from assigning, guarding and balancing the splits."""
STEP_TITLES = {"images": "Downloaded", "shards": "In shards"}
"""Titles of stages; the other stages are named after what they make."""
_WIDTH, _LEFT, _ROW_HEIGHT = 460.0, 118.0, 40.0


@dataclass(frozen=True)
class FunnelStep:
    """`kept` of `read` rows or images; `dropped` by reason. `offset` is the start of a split within the last step, None for a step."""

    title: str
    kept: int
    read: int
    dropped: Mapping[str, int]
    offset: int | None = None


def _deciding_stage(drop: DropGroup) -> str:
    known = find_reason(drop.reason)
    return known.stages[0] if known else ""


def _is_duplicate(drop: DropGroup) -> bool:
    return _deciding_stage(drop) == "duplicates"


def _is_late(drop: DropGroup) -> bool:
    return drop.reason in _LATE_REASONS


def _is_unnamed(drop: DropGroup) -> bool:
    return _deciding_stage(drop) == "taxonomy" or drop.num_unnamed == drop.count


RELEASE_STEPS: tuple[tuple[str, Callable[[DropGroup], bool]], ...] = (
    ("Not withdrawn", lambda drop: drop.reason == "taken_down"),
    ("Unique", _is_duplicate),
    ("In splits", _is_late),
    ("Named", _is_unnamed),
    ("Eligible", lambda drop: True),
)
"""An image that the release dropped is counted at the first of these steps whose rule matches its reason."""
_ORDER = ("Not withdrawn", "Unique", "Named", "Eligible", "In splits")


def funnel_steps(data: ReportData) -> list[FunnelStep]:
    """Steps from the first stage that ran to the splits; the input of each is the output of the one before."""
    passed = [stage.name for stage in STAGES if stage.passes_images]
    place = passed.index("release")
    before, after = ([stage for name in names if (stage := data.stage(name))] for names in (passed[:place], passed[place + 1 :]))
    num_images = data.samples.num_images
    title, first = (before[0].unit.capitalize(), before[0].counts.read) if before else ("Images", num_images)
    steps = [
        FunnelStep(title, first, first, {}),
        *map(_stage_step, before),
        *_release_steps(data, num_images),
        *(_stage_step(stage) for stage in after if stage.counts.dropped),
    ]
    return _until_nothing_is_left(steps) if data.stopped else steps


def _until_nothing_is_left(steps: Sequence[FunnelStep]) -> list[FunnelStep]:
    """The steps up to the first that keeps nothing, without those of the release that had no part in it."""
    last = next((place for place, step in enumerate(steps) if not step.kept), len(steps) - 1)
    return [step for step in steps[: last + 1] if step.dropped or step.title not in _ORDER]


def _stage_step(stage: StageSummary) -> FunnelStep:
    title = STEP_TITLES.get(stage.stage) or find_stage(stage.stage).makes.capitalize()
    return FunnelStep(title, stage.counts.written, stage.counts.read, stage.counts.dropped)


def _release_steps(data: ReportData, left: int) -> list[FunnelStep]:
    claimed: dict[str, dict[str, int]] = {title: {} for title in _ORDER}
    for drop in data.samples.drops:
        claimed[next(title for title, claims in RELEASE_STEPS if claims(drop))][drop.reason] = drop.count
    steps = []
    for title in _ORDER:
        if claimed[title] or title != "Not withdrawn":
            steps.append(FunnelStep(title, left - sum(claimed[title].values()), left, claimed[title]))
            left = steps[-1].kept
    return steps


def split_parts(data: ReportData) -> list[FunnelStep]:
    """The splits as consecutive parts of the last step."""
    parts: list[FunnelStep] = []
    offset = 0
    for split in data.samples.splits:
        parts.append(FunnelStep(split.split, split.num_images, split.num_images, {}, offset))
        offset += split.num_images
    return parts


def funnel_section(data: ReportData) -> Section:
    """Input, drop reasons and output of each step, then the counts of each stage."""
    title = "From provider rows to splits"
    if not data.stages:
        return Section("funnel", title, None, "No stage has been run in this workspace yet.")
    steps = funnel_steps(data)
    caption = "Rows or images kept at each step; the hatched end of a bar is what the step dropped. All bars share one scale."
    parts: list[Markup] = [figure(caption, funnel_chart(steps, split_parts(data)))]
    parts += map(note, _broken_links(data, steps))
    parts.append(_steps_table(steps, data))
    stages = table(
        "Counts of each stage: read = written + dropped, checked by every stage and again for this page",
        ("Stage", "Reads", "Read", "Written", "Dropped", "Reasons"),
        [_stage_row(stage) for stage in data.stages],
        numeric=(2, 3, 4),
    )
    parts.append(details("Counts by stage, with names and backbones", stages))
    parts.append(reason_glossary(reason for counts in _drop_counts(data, steps) for reason in counts))
    return Section("funnel", title, join(parts))


def _drop_counts(data: ReportData, steps: Sequence[FunnelStep]) -> list[Mapping[str, int]]:
    return [*(step.dropped for step in steps), *(stage.counts.dropped for stage in data.stages)]


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
    caption = f"Each step with its drop reasons; an image is dropped once, for one reason. Splits: {splits or 'none'}"
    return table(caption, ("Step", "Input", "Dropped", "Kept", "Kept of all", "Reasons"), rows, numeric=(1, 2, 3, 4))


def _broken_links(data: ReportData, steps: Sequence[FunnelStep]) -> list[str]:
    """A sentence for each step whose input is not the output of the step before."""
    stages = [summary for stage in STAGES if stage.passes_images and (summary := data.stage(stage.name)) is not None]
    sentences = [
        f"Stage {after.stage} read {number(after.counts.read)} rows but {before.stage} wrote {number(before.counts.written)}: "
        "the two are not from the same run."
        for before, after in pairwise(stages)
        if before.counts.written != after.counts.read
    ]
    in_splits = next((step.kept for step in reversed(steps) if step.title == "In splits"), 0)
    if in_splits != data.samples.num_samples:
        sentences.append(f"The splits hold {number(data.samples.num_samples)} images but {number(in_splits)} are expected.")
    release = data.stage("release")
    if release is not None and (dropped := dict(release.counts.dropped)) != (found := {d.reason: d.count for d in data.samples.drops}):
        differing = sorted(reason for reason in dropped.keys() | found.keys() if dropped.get(reason) != found.get(reason))
        sentences.append(f"The table of images and the manifest disagree on the number dropped as {', '.join(differing)}.")
    return sentences


def _stage_row(stage: StageSummary) -> tuple[str, ...]:
    counts = stage.counts
    return (
        code(stage.stage),
        stage.unit,
        number(counts.read),
        join([Markup("{}").format(number(counts.written)), span(f" {find_stage(stage.stage).makes}", "unit")]),
        number(sum(counts.dropped.values())),
        reason_list(counts.dropped) if counts.dropped else "—",
    )


def funnel_chart(steps: Sequence[FunnelStep], parts: Sequence[FunnelStep] = ()) -> Markup:
    """One bar per step on one scale, with the dropped part hatched; `parts` are drawn one after another."""
    scale = Scale(0, max([1, *(step.read for step in steps)]), _LEFT, _WIDTH - 112)
    rows = [_row(step, index * _ROW_HEIGHT + 6, scale) for index, step in enumerate([*steps, *parts])]
    description = "; ".join(f"{step.title}: {step.kept} of {step.read}" for step in steps)
    held = f" Splits: {', '.join(f'{part.title} {part.kept}' for part in parts)}." if parts else ""
    title = f"From provider rows to splits. {description}.{held}"
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
    return join_svg(drawn)


def _hatch() -> Markup:
    stripe = element("path", d="M0,6L6,0", class_="stripe")
    return element("defs", element("pattern", stripe, id="hatch", width=6, height=6, patternUnits="userSpaceOnUse"))
