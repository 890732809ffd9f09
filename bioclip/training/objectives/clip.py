"""CLIP's symmetric InfoNCE, as open_clip computes it.

Paper: A. Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021, arXiv:2103.00020.

With s the logit scale, and u_i and v_j the unit features of images and texts:

    L_i = -log( exp(s u_i.v_i) / sum_k exp(s u_i.v_k) )

averaged over images and over texts, [B, G] logits each: B pairs of this process, G of all.

Use: the default. Every other image of the batch counts as a negative, also one of the same species.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from bioclip.models.clip import import_open_clip
from bioclip.plugins import read_options
from bioclip.training.contrast import Labels
from bioclip.training.objectives.contract import ObjectiveContext, Outputs
from bioclip.training.objectives.pairs import PairObjective, PairOptions

if TYPE_CHECKING:
    from bioclip.training.data import Batch


class ClipOptions(PairOptions):
    """Options of `clip`."""


class ClipObjective(PairObjective):
    """See the module; each process scores its own rows against the gathered features of all, gradients included.

    Without `gather_with_grad` the averaged gradient is 1/world_size of the true one, and with `local_loss` alone it has another direction.
    """

    def __init__(self, options: ClipOptions, context: ObjectiveContext) -> None:
        super().__init__(options, context)
        distributed = self.processes.world_size > 1
        self.info_nce = import_open_clip().ClipLoss(
            local_loss=distributed, gather_with_grad=distributed, rank=self.processes.rank, world_size=self.processes.world_size
        )

    def targets(self, rows: Labels, others: Labels, step: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See PairObjective."""
        del step
        return rows.is_pair_with(others).to(dtype), None

    def loss(self, outputs: Outputs, batch: Batch) -> torch.Tensor:
        """Mean of the cross-entropies of images against texts and of texts against images."""
        if self.streams:
            return super().loss(outputs, batch)
        with warnings.catch_warnings():
            # torch deprecates the gather that open_clip 3.3 calls; the result is the same
            warnings.filterwarnings("ignore", "torch.distributed.nn.functional.all_gather", FutureWarning)
            result: torch.Tensor = self.info_nce(outputs.image_features_BD, outputs.text_features_BD, outputs.logit_scale)
        return result


def build(options: Mapping[str, Any], context: ObjectiveContext) -> ClipObjective:
    """See ObjectiveBuilder."""
    return ClipObjective(read_options(ClipOptions, options, "objective 'clip'", "training.objectives"), context)
