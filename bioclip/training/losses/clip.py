"""CLIP's symmetric InfoNCE (Radford et al. 2021), as open_clip computes it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from bioclip.models.clip import import_open_clip

if TYPE_CHECKING:
    import torch

    from bioclip.training.data import Batch
    from bioclip.training.losses import Loss


def build(rank: int, world_size: int) -> Loss:
    """open_clip's ClipLoss; each process scores its own rows against the gathered features of all, gradients included.

    Without `gather_with_grad` the averaged gradient is 1/world_size of the true one, and `local_loss` alone points elsewhere.
    """
    distributed = world_size > 1
    loss = import_open_clip().ClipLoss(local_loss=distributed, gather_with_grad=distributed, rank=rank, world_size=world_size)

    def clip_loss(
        image_features: torch.Tensor, text_features: torch.Tensor, logit_scale: torch.Tensor, batch: Batch | None
    ) -> torch.Tensor:
        with warnings.catch_warnings():
            # torch announces a successor of the gather that open_clip 3.3 calls; the result is the same
            warnings.filterwarnings("ignore", "torch.distributed.nn.functional.all_gather", FutureWarning)
            result: torch.Tensor = loss(image_features, text_features, logit_scale)
        return result

    return clip_loss
