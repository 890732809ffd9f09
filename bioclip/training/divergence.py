"""When a run has diverged, and which batches it leaves out after it went back.

A step diverges if its loss or gradient norm is not a finite number. It is a spike if one of them exceeds median + k * 1.4826 * MAD of the
last N steps, the robust z-score of Iglewicz and Hoaglin (1993). After a rollback the run leaves out the batches since the step it went
back to (Chowdhery et al. 2022, "PaLM", section 5.1), so the batch of a step is a pure function of the step and of the windows left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch

from bioclip.settings import DivergenceSettings

Window = tuple[int, int]
"""Batches [first, stop) by number."""
Kind = Literal["divergence", "spike"]
_OF_NORMAL = 1.4826
"""Standard deviation of a normal distribution divided by its median absolute deviation."""
_LEAST_SPREAD = 0.01
"""Least spread as a share of the median, so that an almost constant loss has no spikes."""
_WATCHED = ("loss", "gradient_norm")


@dataclass(frozen=True)
class Finding:
    """A step, counted from 1, whose metric `name` has a value that is not finite or exceeds `limit`."""

    kind: Kind
    step: int
    name: str
    value: float
    limit: float = math.inf

    @property
    def sentence(self) -> str:
        """What happened, without an end."""
        what = self.name.replace("_", " ")
        if self.kind == "divergence":
            return f"the {what} is {self.value} at step {self.step}"
        return f"the {what} rises to {self.value:.4g} at step {self.step}, above {self.limit:.4g}, the limit of the steps before"


def judge_step(history: torch.Tensor, names: Sequence[str], row: Sequence[float], settings: DivergenceSettings) -> Finding | None:
    """A finding about the step after `history` [steps, M], whose metrics are `row` [M]; None if it is as expected."""
    watched = [(names.index(name), name) for name in _WATCHED if name in names]
    for column, name in watched:
        if not math.isfinite(row[column]):
            return Finding("divergence", len(history) + 1, name, row[column])
    if settings.on_spike != "ignore" and len(history) >= settings.spike_window_steps:
        for column, name in watched:
            limit = spike_limit(history[-settings.spike_window_steps :, column], settings.spike_deviations)
            if row[column] > limit:
                return Finding("spike", len(history) + 1, name, row[column], limit)
    return None


def spike_limit(values: torch.Tensor, num_deviations: float) -> float:
    """Median + `num_deviations` robust standard deviations of `values` [N]."""
    median = values.quantile(0.5)
    spread = _OF_NORMAL * (values - median).abs().quantile(0.5)
    return float(median + num_deviations * torch.maximum(spread, _LEAST_SPREAD * median.abs()))


def action_for(finding: Finding, settings: DivergenceSettings) -> Literal["warn", "stop", "rollback"]:
    """What the settings state for a finding."""
    chosen = settings.on_divergence if finding.kind == "divergence" else settings.on_spike
    return "warn" if chosen == "ignore" else chosen


def rollback_target(step: int, settings: DivergenceSettings) -> int:
    """Number of steps done to which a run that diverged at `step`, counted from 1, goes back: the last multiple of
    `rollback_every_steps` before it. It does not depend on when checkpoints happened to be written."""
    return (step - 1) // settings.rollback_every_steps * settings.rollback_every_steps


def skip_batches(skipped: Sequence[Window], target: int, step: int) -> tuple[Window, ...]:
    """The windows `skipped` and the batches of steps `target` + 1 to `step`, counted from 1."""
    first, last = (batch_number(number, skipped) for number in (target, step - 1))
    return _merged([*skipped, (first, last + 1)])


def batch_number(step: int, skipped: Sequence[Window]) -> int:
    """Number of the batch of step `step`, both counted from 0, if the windows `skipped`, sorted and disjoint, are left out."""
    for first, stop in skipped:
        if step >= first:
            step += stop - first
    return step


def batch_runs(first_step: int, stop_step: int, skipped: Sequence[Window]) -> Iterator[Window]:
    """The batches of steps `first_step` to `stop_step` - 1 as runs [first, stop) of successive numbers."""
    if first_step == stop_step:
        return
    first, end = batch_number(first_step, skipped), batch_number(stop_step - 1, skipped) + 1
    edges = [first, *(edge for window in skipped if first < window[0] < end for edge in window), end]
    yield from [(start, stop) for number, (start, stop) in enumerate(pairwise(edges)) if number % 2 == 0]


def _merged(windows: Sequence[Window]) -> tuple[Window, ...]:
    """Sorted and disjoint windows with the same batches."""
    found: list[Window] = []
    for first, stop in sorted(windows):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(stop, found[-1][1]))
        else:
            found.append((first, stop))
    return tuple(found)
