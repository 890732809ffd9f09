"""InfoNCE whose negatives are mixtures of an image and its text on the sphere.

Paper: C. Oh et al., Geodesic Multi-Modal Mixup for Robust Fine-Tuning, NeurIPS 2023, arXiv:2203.03897 (the term m2-Mix).

With h the angle between unit vectors a and b, and one l of every step, drawn from Beta(`beta`, `beta`):

    mix(a, b) = a sin(l h) / sin h + b sin((1 - l) h) / sin h
    L_i = -log( exp(s u_i.v_i) / (exp(s u_i.v_i) + sum_{j != i} exp(s u_i.mix(u_j, v_j))) )

averaged over images u and over texts v, which take each other's place, [B, G] logits each. With l = 0 it equals `clip`'s image
side, and with l = 1 its text side.

Use: beside `clip` when a pretrained model is tuned on little data; the mixtures between the two modalities are harder negatives.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field

from bioclip.digests import digest_value
from bioclip.plugins import read_options
from bioclip.training.contrast import cross_entropies, keep_collective, sum_blocks
from bioclip.training.objectives.contract import ObjectiveContext, Outputs
from bioclip.training.objectives.pairs import PairObjective, PairOptions

if TYPE_CHECKING:
    from bioclip.training.data import Batch

_MAX_COSINE = 1 - 1e-6
"""Above it the angle counts as that of this cosine: its gradient has no bound at 1."""


class M2MixOptions(PairOptions):
    """Options of `m2_mix`."""

    beta: float = Field(0.5, gt=0)
    """Parameter of the distribution of mixtures; below 1 most are near one of both ends."""
    mask: bool = False
    """Mixtures of pairs of one accepted taxon, or with an equal caption, are no negatives."""


class M2MixObjective(PairObjective):
    """See the module."""

    def __init__(self, options: M2MixOptions, context: ObjectiveContext) -> None:
        super().__init__(options, context)
        self.options, self.seed = options, context.settings.seed

    def share(self, step: int) -> float:
        """The share l of a step, equal in every process."""
        seed = int(digest_value(["m2_mix", self.seed, step])[:15], 16)
        return Random(seed).betavariate(self.options.beta, self.options.beta)  # noqa: S311 - not a secret

    def loss(self, outputs: Outputs, batch: Batch) -> torch.Tensor:
        """See the module; the mean is over the included pairs of all processes."""
        mine, everyone = self.labels(batch)
        images_BD, texts_BD = outputs.image_features_BD, outputs.text_features_BD
        images_GD, texts_GD = self.processes.gather(images_BD), self.processes.gather(texts_BD)
        mixed_GD = mix(images_GD, texts_GD, self.share(batch.step))

        def block(rows: slice) -> torch.Tensor:
            labels = mine[rows]
            pair_NC = labels.is_pair_with(everyone)
            allowed_NC = pair_NC | ~labels.is_same_as(everyone) if self.options.mask else torch.ones_like(pair_NC)
            allowed_NC &= everyone.included_N
            total = images_BD.new_zeros(())
            for anchors_ND, own_ND in ((images_BD[rows], texts_BD[rows]), (texts_BD[rows], images_BD[rows])):
                own_N1 = (anchors_ND * own_ND).sum(dim=1, keepdim=True)
                logits_NC = outputs.logit_scale * torch.where(pair_NC, own_N1, anchors_ND @ mixed_GD.T)
                losses_N = cross_entropies(logits_NC, pair_NC.to(logits_NC.dtype), allowed_NC)
                total = total + losses_N.masked_fill(~labels.included_N, 0).sum()
            return total

        total = self.processes.world_size * sum_blocks(len(mine), len(everyone), block)
        return keep_collective(total / (2 * everyone.included_N.sum()).clamp(min=1), images_GD, texts_GD)


def mix(one_ND: torch.Tensor, other_ND: torch.Tensor, share: float) -> torch.Tensor:
    """Unit vectors [N, D] on the arc between unit vectors: `one_ND` for a share of 1, `other_ND` for 0."""
    angle_N1 = (one_ND * other_ND).sum(dim=1, keepdim=True).clamp(-_MAX_COSINE, _MAX_COSINE).acos()
    return (one_ND * (share * angle_N1).sin() + other_ND * ((1 - share) * angle_N1).sin()) / angle_N1.sin()


def build(options: Mapping[str, Any], context: ObjectiveContext) -> M2MixObjective:
    """See ObjectiveBuilder."""
    return M2MixObjective(read_options(M2MixOptions, options, "objective 'm2_mix'", "training.objectives"), context)
