"""SigLIP's pairwise sigmoid loss, with a trained bias.

Paper: X. Zhai et al., Sigmoid Loss for Language Image Pre-Training, ICCV 2023, arXiv:2303.15343.

With z_ij = 1 for a matching image and text and -1 otherwise, s the logit scale and b the bias:

    L = -1/G sum_i sum_j log sigmoid( z_ij (s u_i.v_j + b) )

over all G x G pairs, [B, G] logits in each process. A model whose architecture has a `logit_bias` trains its own, from its own initial
values; any other model gets one here. Models that start from random weights then also start from the paper's logit scale.

Use: instead of `clip`, above all for small batches; no normalisation over the batch, so a false negative costs less.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from pydantic import Field

from bioclip.plugins import read_options
from bioclip.training.contrast import keep_collective, sum_blocks
from bioclip.training.objectives.contract import ObjectiveContext, Outputs
from bioclip.training.objectives.pairs import PairObjective, PairOptions

if TYPE_CHECKING:
    from bioclip.training.data.batch import Batch


class SiglipOptions(PairOptions):
    """Options of `siglip`."""

    mode: Literal["pairs", "positives", "mask"] = "pairs"
    """What two pairs of one accepted taxon or with an equal caption are to each other: `pairs`: negatives, as in the paper;
    `positives`; `mask`: neither."""
    init_scale: float = Field(10.0, gt=0, le=100)
    """Initial logit scale of a model with random weights and without a bias of its own."""
    init_bias: float = -10.0
    """Initial bias of a model without one of its own."""


class SiglipObjective(PairObjective):
    """See the module; `logit_bias` is None for a model that has one."""

    def __init__(self, options: SiglipOptions, context: ObjectiveContext) -> None:
        super().__init__(options, context)
        self.mode, network = options.mode, context.model.network
        self.logit_bias: torch.nn.Parameter | None = None
        if getattr(network, "logit_bias", None) is None:
            self.logit_bias = torch.nn.Parameter(torch.tensor(options.init_bias))
            if not context.settings.model.pretrained:
                with torch.no_grad():
                    network.get_parameter("logit_scale").fill_(math.log(options.init_scale))

    def loss(self, outputs: Outputs, batch: Batch) -> torch.Tensor:
        """See the module."""
        mine, everyone = self.labels(batch)
        images_BD, texts_GD = outputs.image_features_BD, self.processes.gather(outputs.text_features_BD)
        bias = cast(torch.Tensor, self.logit_bias if outputs.logit_bias is None else outputs.logit_bias)

        def block(rows: slice) -> torch.Tensor:
            labels = mine[rows]
            same_NC, pair_NC = labels.is_same_as(everyone), labels.is_pair_with(everyone)
            positive_NC = same_NC if self.mode == "positives" else pair_NC
            counted_NC = labels.included_N[:, None] & everyone.included_N
            if self.mode == "mask":
                counted_NC &= pair_NC | ~same_NC
            logits_NC = outputs.logit_scale * images_BD[rows] @ texts_GD.T + bias
            losses_NC = torch.nn.functional.softplus(torch.where(positive_NC, -logits_NC, logits_NC))
            return losses_NC.masked_fill(~counted_NC, 0).sum()

        total = self.processes.world_size * sum_blocks(len(mine), len(everyone), block)
        return keep_collective(total / everyone.included_N.sum().clamp(min=1), texts_GD)


def build(options: Mapping[str, Any], context: ObjectiveContext) -> SiglipObjective:
    """See ObjectiveBuilder."""
    return SiglipObjective(read_options(SiglipOptions, options, "objective 'siglip'", "training.objectives"), context)
