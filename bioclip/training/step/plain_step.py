"""One forward and one backward pass of the whole network."""

from __future__ import annotations

import torch

from bioclip.training.objectives.contract import Step, at_least_float32


def run_plain_step(step: Step, wrapped: torch.nn.Module) -> torch.Tensor:
    """One forward pass of `wrapped`, a PairEncoder with its gradients averaged, and one backward pass; returns the loss, detached."""
    with step.autocast():
        images_BD, rows_RD, logit_scale, logit_bias = wrapped(step.images_BCHW, step.texts.groups)
    texts_XD = at_least_float32(rows_RD)[step.texts.row_of_X]
    loss = step.total(at_least_float32(images_BD), texts_XD, logit_scale, logit_bias)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()
