"""Training objectives by name. To add one: a file beside this one with a `build` function, and a line in LOSSES."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from bioclip.errors import UnknownNameError
from bioclip.training.losses import clip

if TYPE_CHECKING:
    import torch

    from bioclip.training.data import Batch


class Loss(Protocol):
    """An objective over this process's pairs.

    Features are of unit length, [B, D]; `logit_scale` is the learnt factor itself, not its logarithm. The mean of the gradients over all
    processes must be the gradient that one process with the whole batch would have.
    """

    def __call__(
        self, image_features: torch.Tensor, text_features: torch.Tensor, logit_scale: torch.Tensor, batch: Batch | None
    ) -> torch.Tensor:
        """The scalar to minimise."""


LossBuilder = Callable[[int, int], Loss]
"""(rank, number of processes) -> objective."""

LOSSES: dict[str, LossBuilder] = {
    "clip": clip.build,
}


def build_loss(name: str, rank: int, world_size: int) -> Loss:
    """The objective registered as `name`; raises UnknownNameError."""
    if name not in LOSSES:
        raise UnknownNameError("loss", name, LOSSES)
    return LOSSES[name](rank, world_size)
