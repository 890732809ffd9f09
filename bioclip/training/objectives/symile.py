"""Contrast of three modalities at once: image, text, and stored features of a third, such as DNA barcodes.

Paper: A. Saporta et al., Contrasting with Symile: Simple Model-Agnostic Representation Learning for Unlimited Modalities, NeurIPS 2024,
arXiv:2411.01053.

With unit features x, y and z of image, text and third modality, and c a scale of its own:

    s(x, y, z) = c sum_d x_d y_d z_d
    L_x = -log( exp s(x_i, y_i, z_i) / (exp s(x_i, y_i, z_i) + sum_{j != i} exp s(x_i, y_p(j), z_q(j))) )

and L_y, L_z alike, with p and q new random permutations of the batch for each step and anchor (the paper's N - 1 negatives); the loss is
the mean of the three. [M, V] logits each, for the V pairs of all processes that have the third modality and the M of them in this one; the
others do not count. The third modality passes a trained linear layer [W, D].

Use: beside `clip`, where a third modality says what image and text alone do not. Pairwise contrast cannot learn what only two of the
three determine together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field

from bioclip.digests import digest_value
from bioclip.plugins import read_options
from bioclip.training.contrast import keep_collective, sum_blocks
from bioclip.training.objectives.contract import ObjectiveContext, Outputs
from bioclip.training.objectives.pairs import PairObjective, PairOptions
from bioclip.training.stored_features.feature_table import FeatureTable

if TYPE_CHECKING:
    from bioclip.training.data import Batch

_MAX_LOG_SCALE = math.log(1000)


class SymileOptions(PairOptions):
    """Options of `symile`."""

    features_path: str
    """Parquet table of the third modality: `item_id` (the sample's key, for a release the record id) and `embedding`."""
    init_scale: float = Field(14.3, gt=0)
    """Initial scale c; it is trained, up to 1,000."""


class SymileObjective(PairObjective):
    """See the module."""

    def __init__(self, options: SymileOptions, context: ObjectiveContext) -> None:
        super().__init__(options, context)
        self.seed, self.table = context.settings.seed, FeatureTable(options.features_path)
        self.adapter = torch.nn.Linear(self.table.width, int(context.model.config["model_cfg"]["embed_dim"]), bias=False)
        self.log_scale = torch.nn.Parameter(torch.tensor(math.log(options.init_scale)))

    def loss(self, outputs: Outputs, batch: Batch) -> torch.Tensor:
        """See the module; 0 for fewer than two pairs with the third modality."""
        third_BW, has_third_B = self.table.read(batch.keys, outputs.image_features_BD)
        third_BD = torch.nn.functional.normalize(self.adapter(third_BW), dim=-1)
        counted_B = self.labels(batch)[0].included_N & has_third_B
        counted_G = self.processes.gather(counted_B.long()).bool()
        features = outputs.image_features_BD, outputs.text_features_BD, third_BD
        gathered = [self.processes.gather(one) for one in features]
        place_V = counted_G.nonzero()[:, 0]
        first = self.processes.rank * len(counted_B)
        mine_M = ((place_V >= first) & (place_V < first + len(counted_B))).nonzero()[:, 0]
        everyone = [one[place_V] for one in gathered]
        scale = self.log_scale.clamp(max=_MAX_LOG_SCALE).exp()
        total = sum(self._of_anchor(number, everyone, mine_M, scale, batch.step) for number in range(3)) if len(place_V) > 1 else 0
        mean = self.processes.world_size * (scale * 0 + total) / (3 * max(1, len(place_V)))
        return keep_collective(mean, *gathered)

    def _of_anchor(self, number: int, everyone: list[torch.Tensor], mine_M: torch.Tensor, scale: torch.Tensor, step: int) -> torch.Tensor:
        """The sum over this process's rows with modality `number` as the anchor."""
        anchors_VD, others = everyone[number], [one for place, one in enumerate(everyone) if place != number]
        orders = [self._permutation(len(anchors_VD), step, 2 * number + place).to(mine_M.device) for place in range(2)]
        negatives_VD = others[0][orders[0]] * others[1][orders[1]]
        own_V = (anchors_VD * others[0] * others[1]).sum(dim=1)

        def block(rows: slice) -> torch.Tensor:
            mine = mine_M[rows]
            is_own_NV = mine[:, None] == torch.arange(len(own_V), device=mine.device)
            logits_NV = scale * torch.where(is_own_NV, own_V[mine, None], anchors_VD[mine] @ negatives_VD.T)
            return torch.nn.functional.cross_entropy(logits_NV, mine, reduction="sum")

        return sum_blocks(len(mine_M), len(own_V), block)

    def _permutation(self, size: int, step: int, number: int) -> torch.Tensor:
        """The same in every process."""
        seed = int(digest_value(["symile", self.seed, step, number])[:15], 16)
        return torch.randperm(size, generator=torch.Generator().manual_seed(seed))


def build(options: Mapping[str, Any], context: ObjectiveContext) -> SymileObjective:
    """See ObjectiveBuilder."""
    return SymileObjective(read_options(SymileOptions, options, "objective 'symile'", "training.objectives"), context)
