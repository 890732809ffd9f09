"""The curves of a training as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_SMOOTHED_SHARE = 0.02
"""Share of the steps that the smoothed loss averages over."""


def draw_losses(rows: Sequence[Mapping[str, Any]], title: str, path: Path) -> bool:
    """Write a PNG of loss and learning rate over the steps; returns False without matplotlib or without rows."""
    if not rows:
        return False
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    steps = np.array([row["step"] for row in rows])
    losses = np.array([row["loss"] for row in rows])
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    top.plot(steps, losses, color="#9fc3a8", linewidth=0.8, label="each step")
    width = max(1, round(len(rows) * _SMOOTHED_SHARE))
    if width > 1:
        mean = np.convolve(losses, np.ones(width) / width, mode="valid")
        top.plot(steps[width - 1 :], mean, color="#1f6f3a", linewidth=1.6, label=f"mean of {width} steps")
    top.set_ylabel("loss")
    top.set_title(title, loc="left", fontsize=11)
    top.legend(frameon=False)
    bottom.plot(steps, [row["learning_rate"] for row in rows], color="#4a5a8c", linewidth=1.2)
    bottom.set_ylabel("learning rate")
    bottom.set_xlabel("step")
    for axes in (top, bottom):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
    return True
