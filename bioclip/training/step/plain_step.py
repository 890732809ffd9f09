"""One forward and one backward pass of the whole network."""

from __future__ import annotations

import torch

from bioclip.training.objectives.contract import Step, at_least_float32


def run_plain_step(step: Step, wrapped: torch.nn.Module) -> torch.Tensor:
    """One forward pass of `wrapped`, the network with its gradients averaged, and one backward pass; returns the loss, detached."""
    with step.autocast():
        answer = wrapped(step.images_BCHW, step.tokens_XL)
    if isinstance(answer, dict):
        answer = (answer["image_features"], answer["text_features"], answer["logit_scale"], answer.get("logit_bias"))
    images_BD, texts_XD, logit_scale, logit_bias = (*answer, None)[:4]
    loss = step.total(at_least_float32(images_BD), at_least_float32(texts_XD), logit_scale, logit_bias)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()
