"""AdamW with CLIP's weight decay, learning-rate schedule and bound of the logit scale."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from bioclip.settings import TrainingSettings

MAX_LOG_LOGIT_SCALE = math.log(100)
"""Upper bound of the logit scale's logarithm (Radford et al. 2021)."""


def build_optimizer(parameters: Iterable[torch.nn.Parameter], settings: TrainingSettings) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019) without decay on biases, norms, class token, logit scale and bias: all of under two axes."""
    parameters = [parameter for parameter in parameters if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.adam_betas, eps=settings.adam_epsilon, fused=True)


def learning_rate(step: int, settings: TrainingSettings) -> float:
    """Rate of step `step`, counted from 0: linear warm-up to the peak, then a cosine to 0."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, settings.num_steps - settings.warmup_steps)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def take_step(
    network: torch.nn.Module,
    parameters: Iterable[torch.nn.Parameter],
    optimizer: torch.optim.AdamW,
    step: int,
    settings: TrainingSettings,
) -> torch.Tensor:
    """Clip the gradients of `parameters`, update them, and clamp the network's logit scale; returns the norm before clipping, a scalar."""
    norm = torch.nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm or math.inf)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, settings)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    with torch.no_grad():
        network.get_parameter("logit_scale").clamp_(0, MAX_LOG_LOGIT_SCALE)
    return norm
