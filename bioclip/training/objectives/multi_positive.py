"""InfoNCE in which images of one accepted taxon, or pairs with an equal caption, are no negatives.

Paper: P. Khosla et al., Supervised Contrastive Learning, NeurIPS 2020, arXiv:2004.11362 (the mean outside the logarithm, equation 2).

With s the logit scale, u_i and v_j unit features of images and texts, and P(i) the pairs that image i matches, itself included:

    positives   L_i = -1/|P(i)| sum_{j in P(i)} log( exp(s u_i.v_j) / sum_k exp(s u_i.v_k) )
    mask        L_i = -log( exp(s u_i.v_i) / sum_{k not in P(i), or k = i} exp(s u_i.v_k) )

The loss is the mean over images and over texts, [B, G] logits each. Without repeated taxa and captions both equal `clip`.

Use: any batch in which a species occurs more than once, which is the rule with more pairs than species.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch

from bioclip.plugins import read_options
from bioclip.training.contrast import Labels
from bioclip.training.objectives.contract import ObjectiveContext
from bioclip.training.objectives.pairs import PairObjective, PairOptions


class MultiPositiveOptions(PairOptions):
    """Options of `multi_positive`."""

    mode: Literal["positives", "mask"] = "positives"
    """`positives`: the target is spread evenly over all matching pairs; `mask`: the other matching pairs are left out of the
    denominator."""
    same_taxon: bool = True
    """Pairs of one accepted taxon match."""
    same_caption: bool = True
    """Pairs with an equal caption match."""


class MultiPositiveObjective(PairObjective):
    """See the module."""

    def __init__(self, options: MultiPositiveOptions, context: ObjectiveContext) -> None:
        super().__init__(options, context)
        self.options = options

    def targets(self, rows: Labels, others: Labels, step: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See PairObjective."""
        del step
        same_NC = rows.is_same_as(others, self.options.same_taxon, self.options.same_caption)
        pair_NC = rows.is_pair_with(others)
        if self.options.mode == "mask":
            return pair_NC.to(dtype), pair_NC | ~same_NC
        same_NC = (same_NC & others.included_N) | pair_NC
        return same_NC / same_NC.sum(dim=1, keepdim=True, dtype=dtype), None


def build(options: Mapping[str, Any], context: ObjectiveContext) -> MultiPositiveObjective:
    """See ObjectiveBuilder."""
    chosen = read_options(MultiPositiveOptions, options, "objective 'multi_positive'", "training.objectives")
    return MultiPositiveObjective(chosen, context)
