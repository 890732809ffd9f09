"""An objective that fails at chosen batches: the loss is no number, far too high, or the process raises."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from bioclip.training.data import Batch
from bioclip.training.objectives.clip import ClipObjective, ClipOptions
from bioclip.training.objectives.contract import ObjectiveContext, Outputs


class FaultyObjective(ClipObjective):
    """CLIP's loss, but NaN at the batches `nan_at`, times 1000 at those of `high_at`; in process `rank`, RuntimeError at `raise_at`."""

    def __init__(self, options: Mapping[str, Any], context: ObjectiveContext) -> None:
        super().__init__(ClipOptions(), context)
        self.faults, self.rank = options, context.processes.rank

    def loss(self, outputs: Outputs, batch: Batch) -> torch.Tensor:
        """See FaultyObjective."""
        loss = super().loss(outputs, batch)
        if batch.step in self.faults.get("raise_at", ()) and self.rank == self.faults.get("rank", 0):
            raise RuntimeError(f"the probe of batch {batch.step} broke")
        if batch.step in self.faults.get("nan_at", ()):
            return loss * float("nan")
        return loss * 1000 if batch.step in self.faults.get("high_at", ()) else loss


class DrawingObjective(ClipObjective):
    """CLIP's loss times random numbers of Python, numpy and torch, none of them seeded."""

    def loss(self, outputs: Outputs, batch: Batch) -> torch.Tensor:
        """See DrawingObjective."""
        factor = 1 + random.random() + float(np.random.rand()) + float(torch.rand(()))
        return super().loss(outputs, batch) * factor


def build(options: Mapping[str, Any], context: ObjectiveContext) -> FaultyObjective:
    """See ObjectiveBuilder."""
    return FaultyObjective(options, context)


def build_drawing(options: Mapping[str, Any], context: ObjectiveContext) -> DrawingObjective:
    """See ObjectiveBuilder."""
    return DrawingObjective(ClipOptions(), context)
