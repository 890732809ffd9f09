"""InfoNCE whose targets give negatives a share by their distance in the taxonomy.

Paper: Y. Nie et al., LightCLIP: Learning Multi-Level Interaction for Lightweight Vision-Language Models, 2023, arXiv:2312.00674
(negatives softened progressively), with the rank distance of L. Bertinetto et al., Making Better Mistakes, CVPR 2020, arXiv:1912.09393.

With d_ij the ranks from the species up to the lowest taxon shared by pairs i and j (0 to 7):

    y_ij = (1 - a) [i = j] + a exp(-d_ij / t) / sum_{k != i} exp(-d_ik / t)  for j != i
    L_i = -sum_j y_ij log( exp(s u_i.v_j) / sum_k exp(s u_i.v_k) )

averaged over images and over texts, [B, G] logits each. The share a grows in a straight line from 0 to `alpha` over the first
`ramp_share` of the steps. With `alpha` 0 the loss is that of `clip`.

Use: to make wrong answers near ones; compare severity and hierarchical distance, not only top-1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field

from bioclip.plugins import read_options
from bioclip.training.contrast import Labels
from bioclip.training.objectives.contract import ObjectiveContext
from bioclip.training.objectives.pairs import PairObjective, PairOptions


class SoftenedOptions(PairOptions):
    """Options of `softened`."""

    alpha: float = Field(0.2, ge=0, le=1)
    """Share of the target that negatives have at the end."""
    temperature: float = Field(1.0, gt=0)
    """Ranks over which a negative's share falls by a factor of e."""
    ramp_share: float = Field(1.0, ge=0, le=1)
    """Share of the steps over which the share grows; 0: constant."""


class SoftenedObjective(PairObjective):
    """See the module."""

    def __init__(self, options: SoftenedOptions, context: ObjectiveContext) -> None:
        super().__init__(options, context)
        self.options, self.num_steps = options, context.settings.num_steps

    def softness(self, step: int) -> float:
        """The negatives' share of the target at `step`, counted from 0."""
        ramp = self.options.ramp_share * self.num_steps
        return self.options.alpha * (min(1.0, step / ramp) if ramp else 1.0)

    def targets(self, rows: Labels, others: Labels, step: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See PairObjective."""
        pair_NC = rows.is_pair_with(others)
        negative_NC = ~pair_NC & others.included_N
        nearness_NC = (-rows.rank_distance(others).to(dtype) / self.options.temperature).masked_fill(~negative_NC, -torch.inf)
        has_negative_N1 = negative_NC.any(dim=1, keepdim=True)
        share_NC = torch.where(has_negative_N1, nearness_NC, 0).softmax(dim=1)
        softness_N1 = self.softness(step) * has_negative_N1.to(dtype)
        return (1 - softness_N1) * pair_NC + softness_N1 * share_NC, None


def build(options: Mapping[str, Any], context: ObjectiveContext) -> SoftenedObjective:
    """See ObjectiveBuilder."""
    return SoftenedObjective(read_options(SoftenedOptions, options, "objective 'softened'", "training.objectives"), context)
