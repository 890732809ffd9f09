"""AdamW with CLIP's weight decay, learning-rate schedule and bound of the logit scale."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch.distributed.tensor import DTensor

from bioclip.settings import TrainingSettings

MAX_LOG_LOGIT_SCALE = math.log(100)
"""Upper bound of the logit scale's logarithm (Radford et al. 2021)."""


def build_optimizer(parameters: Iterable[torch.nn.Parameter], settings: TrainingSettings) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019) without decay on biases, norms, class token, logit scale and bias: all of under two axes."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    groups = []
    for is_sharded in sorted({isinstance(parameter, DTensor) for parameter in trained}):  # one kernel updates one kind only
        alike = [parameter for parameter in trained if isinstance(parameter, DTensor) == is_sharded]
        groups.append({"params": [p for p in alike if p.ndim >= 2], "weight_decay": settings.weight_decay})
        groups.append({"params": [p for p in alike if p.ndim < 2], "weight_decay": 0.0})
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
    norm = clip_gradients(parameters, settings.max_grad_norm)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, settings)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    with torch.no_grad():
        network.get_parameter("logit_scale").clamp_(0, MAX_LOG_LOGIT_SCALE)
    return norm


def clip_gradients(parameters: Iterable[torch.nn.Parameter], max_norm: float) -> torch.Tensor:
    """Scale all gradients down to the norm `max_norm` if it is not 0 and theirs is greater; returns their norm before that, a scalar.

    Sharded gradients, which hold a part in each process, count with all their parts.
    """
    trained = [parameter for parameter in parameters if parameter.grad is not None]
    sharded = [parameter for parameter in trained if isinstance(parameter.grad, DTensor)]
    whole = [parameter for parameter in trained if not isinstance(parameter.grad, DTensor)]
    norm = torch.nn.utils.get_total_norm([p.grad for p in whole if p.grad is not None])
    if sharded:
        of_shards = torch.nn.utils.get_total_norm([p.grad for p in sharded if p.grad is not None])
        assert isinstance(of_shards, DTensor)
        norm = torch.hypot(norm.to(of_shards.device), of_shards.full_tensor())
    if max_norm:
        torch.nn.utils.clip_grads_with_norm_(whole, max_norm, norm)
        torch.nn.utils.clip_grads_with_norm_(sharded, max_norm, norm)
    return norm
