"""The base of objectives that contrast the images and texts of a batch's pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch

from bioclip.settings import Settings
from bioclip.training.contrast import Labels, cross_entropies, keep_collective, labels_of, node_table, sum_blocks
from bioclip.training.objectives.contract import Objective, ObjectiveContext, Outputs

if TYPE_CHECKING:
    from bioclip.training.data.batch import Batch


class PairOptions(Settings):
    """Options of every objective that contrasts pairs."""

    streams: tuple[int, ...] = ()
    """Streams of `training.data`, counted from 0, whose pairs are contrasted with one another; empty: all."""


class PairObjective(Objective):
    """Mean of two cross-entropies: each image against all texts, and each text against all images.

    A subclass says in `targets` which answers are right. Pairs of other streams are neither anchors nor candidates.
    """

    def __init__(self, options: PairOptions, context: ObjectiveContext) -> None:
        super().__init__()
        self.streams, self.processes = options.streams, context.processes
        self.register_buffer("node_TR", node_table(context.lineages), persistent=False)

    def targets(self, rows: Labels, others: Labels, step: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(target distribution [N, C] of each row in `dtype`, candidates [N, C] in its denominator; None: all)."""
        raise NotImplementedError(f"{type(self).__name__} does not define targets")

    def labels(self, batch: Batch) -> tuple[Labels, Labels]:
        """Labels of this process's pairs and of all."""
        return labels_of(batch, cast(torch.Tensor, self.node_TR), self.streams, self.processes)

    def loss(self, outputs: Outputs, batch: Batch) -> torch.Tensor:
        """See the class; the mean is over the included pairs of all processes."""
        return self.contrast(outputs.image_features_BD, outputs.text_features_BD, outputs.logit_scale, batch)

    def contrast(self, images_BD: torch.Tensor, texts_BD: torch.Tensor, scale: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The loss of any features of the batch's pairs."""
        mine, everyone = self.labels(batch)
        images_GD, texts_GD = self.processes.gather(images_BD), self.processes.gather(texts_BD)
        sides = (images_BD, texts_GD), (texts_BD, images_GD)
        total = sum(self._sum_of_rows(anchors, candidates, scale, mine, everyone, batch.step) for anchors, candidates in sides)
        mean = self.processes.world_size * cast(torch.Tensor, total) / (2 * everyone.included_N.sum()).clamp(min=1)
        return keep_collective(mean, images_GD, texts_GD)

    def _sum_of_rows(
        self, anchors_BD: torch.Tensor, candidates_GD: torch.Tensor, scale: torch.Tensor, mine: Labels, everyone: Labels, step: int
    ) -> torch.Tensor:
        def block(rows: slice) -> torch.Tensor:
            labels = mine[rows]
            targets_NC, allowed_NC = self.targets(labels, everyone, step, anchors_BD.dtype)
            if self.streams:
                allowed_NC = everyone.included_N if allowed_NC is None else allowed_NC & everyone.included_N
                allowed_NC = allowed_NC.expand_as(targets_NC)
            losses_N = cross_entropies(scale * anchors_BD[rows] @ candidates_GD.T, targets_NC, allowed_NC)
            return losses_N.masked_fill(~labels.included_N, 0).sum()

        return sum_blocks(len(mine), len(everyone), block)
