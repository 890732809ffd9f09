"""CLIP's symmetric InfoNCE, as open_clip computes it.

Paper: A. Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021, arXiv:2103.00020.

With s the logit scale, and u_i and v_j the unit features of images and texts:

    L_i = -log( exp(s u_i.v_i) / sum_k exp(s u_i.v_k) )

averaged over images and over texts, [B, G] logits each: B pairs of this process, G of all.

Use: the default. Every other image of the batch counts as a negative, also one of the same species.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from bioclip.plugins import read_options
from bioclip.training.contrast import Labels
from bioclip.training.objectives.contract import ObjectiveContext, Outputs
from bioclip.training.objectives.pairs import PairObjective, PairOptions
from bioclip.training.step.info_nce import info_nce

if TYPE_CHECKING:
    from bioclip.training.data import Batch


class ClipOptions(PairOptions):
    """Options of `clip`."""


class ClipObjective(PairObjective):
    """See the module; each process scores its own rows against the gathered features of all, gradients included."""

    def targets(self, rows: Labels, others: Labels, step: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See PairObjective."""
        del step
        return rows.is_pair_with(others).to(dtype), None

    def loss(self, outputs: Outputs, batch: Batch) -> torch.Tensor:
        """Mean of the cross-entropies of images against texts and of texts against images."""
        if self.streams:
            return super().loss(outputs, batch)
        return info_nce(outputs.image_features_BD, outputs.text_features_BD, outputs.logit_scale, self.processes)


def build(options: Mapping[str, Any], context: ObjectiveContext) -> ClipObjective:
    """See ObjectiveBuilder."""
    return ClipObjective(read_options(ClipOptions, options, "objective 'clip'", "training.objectives"), context)
