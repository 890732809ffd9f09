"""InfoNCE over the pairs of a foreign stream, through an image projection of their own.

Paper: J. Gu et al., BioCLIP 2: Emergent Properties from Scaling Hierarchical Contrastive Learning, 2025, arXiv:2505.23883 (experience
replay of LAION-2B beside TreeOfLife-200M).

With p_i the pooled features of an image tower before its projection, M a second projection [W, D], and w_i = p_i M / |p_i M|:

    L = 1/2 [ mean_i -log( exp(s w_i.v_i) / sum_k exp(s w_i.v_k) ) + the same for texts ]

over the pairs of the replayed streams, [B, G] logits. The text tower and the logit scale s are shared. M starts as a copy of the tower's
own projection and is stored with the objective, so the finished model is the one for organisms. As in the paper, sum it unweighted with
`{name: clip, options: {streams: [0]}}`.

Use: to keep what the start checkpoint knows of the rest of the world; give the foreign tars as a second stream of `training.data`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field

from bioclip.errors import SettingsError
from bioclip.models.pooled_features import PooledFeatures
from bioclip.plugins import read_options
from bioclip.training.contrast import Labels
from bioclip.training.objectives.contract import ObjectiveContext, Outputs, at_least_float32
from bioclip.training.objectives.pairs import PairObjective, PairOptions

if TYPE_CHECKING:
    from bioclip.training.data import Batch


class ReplayOptions(PairOptions):
    """Options of `replay`."""

    streams: tuple[int, ...] = Field((1,), min_length=1)
    """Streams of `training.data`, counted from 0, that are replayed."""
    projection: Literal["pooled", "embedding"] = "pooled"
    """`pooled`: of the tower's pooled features, as in the paper; `embedding`: of the finished features of the image, for a tower without
    a linear projection and for batches that are encoded in chunks."""


class ReplayObjective(PairObjective):
    """See the module."""

    def __init__(self, options: ReplayOptions, context: ObjectiveContext) -> None:
        super().__init__(options, context)
        self.pooled = PooledFeatures(context.model.network) if options.projection == "pooled" else None
        width = int(context.model.config["model_cfg"]["embed_dim"])
        self.projection = torch.nn.Parameter(torch.eye(width) if self.pooled is None else self.pooled.projection)

    def targets(self, rows: Labels, others: Labels, step: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See PairObjective."""
        del step
        return rows.is_pair_with(others).to(dtype), None

    def loss(self, outputs: Outputs, batch: Batch) -> torch.Tensor:
        """See the module; raises SettingsError for pooled features of only a part of the batch."""
        features_BW = outputs.image_features_BD
        if self.pooled is not None:
            pooled_BW = self.pooled.take()
            if pooled_BW is None or len(pooled_BW) != len(features_BW) or not pooled_BW.requires_grad:
                raise SettingsError(
                    "objective 'replay' with projection: pooled needs one forward pass of the whole batch; set its option projection to "
                    "embedding, or leave out what encodes the batch in chunks."
                )
            features_BW = at_least_float32(pooled_BW)
        images_BD = torch.nn.functional.normalize(features_BW @ self.projection, dim=-1)
        return self.contrast(images_BD, outputs.text_features_BD, outputs.logit_scale, batch)


def build(options: Mapping[str, Any], context: ObjectiveContext) -> ReplayObjective:
    """See ObjectiveBuilder."""
    return ReplayObjective(read_options(ReplayOptions, options, "objective 'replay'", "training.objectives"), context)
