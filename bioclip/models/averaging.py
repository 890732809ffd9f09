"""Averages of weights: between a start and a tuned model (WiSE-FT), over several models, and over the steps of a run.

Papers: M. Wortsman et al., Robust fine-tuning of zero-shot models (WiSE-FT), CVPR 2022, arXiv:2109.01903; M. Wortsman et al., Model soups,
ICML 2022, arXiv:2203.05482; P. Izmailov et al., Averaging Weights Leads to Wider Optima, UAI 2018, arXiv:1803.05407.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, cast

import torch
from torch.distributed.tensor import DTensor

from bioclip.errors import ModelError

Weights = Mapping[str, torch.Tensor]

ALPHAS = tuple(round(0.1 * step, 1) for step in range(11))
"""Shares of the tuned model that WiSE-FT tries."""


class PathPoint(NamedTuple):
    """The score of the model with the share `alpha` of the tuned one."""

    alpha: float
    score: float


def interpolate_weights(start: Weights, tuned: Weights, alpha: float) -> dict[str, torch.Tensor]:
    """(1 - alpha) start + alpha tuned, rounded once; 0 and 1 give the models themselves, bit for bit.

    Tensors that are not of floating point are those of the tuned model unless alpha is 0. Raises ModelError for models whose weights
    differ in names or shapes, and for an alpha outside of [0, 1].
    """
    if not 0 <= alpha <= 1:
        raise ModelError(f"alpha is {alpha}; the share of the tuned model must be between 0 and 1.")
    _check_alike([start, tuned])
    if alpha in (0, 1):
        return {name: tensor.detach().clone() for name, tensor in (tuned if alpha else start).items()}
    return {name: _mean([start[name], tensor], [1 - alpha, alpha]) for name, tensor in tuned.items()}


def average_weights(models: Sequence[Weights]) -> dict[str, torch.Tensor]:
    """The mean of the models' weights, rounded once; raises ModelError for models whose weights differ in names or shapes, or for none."""
    _check_alike(models)
    return {name: _mean([model[name] for model in models], [1 / len(models)] * len(models)) for name in models[0]}


def measure_path(
    network: torch.nn.Module, start: Weights, tuned: Weights, measure: Callable[[], float], alphas: Sequence[float] = ALPHAS
) -> list[PathPoint]:
    """The score of `network` with the weights at each alpha; the network keeps those of the last one."""
    points = []
    for alpha in alphas:
        network.load_state_dict(interpolate_weights(start, tuned, alpha))
        points.append(PathPoint(alpha, measure()))
    return points


def best_alpha(points: Sequence[PathPoint], mode: Literal["max", "min"] = "max") -> float:
    """The alpha of the best score, of equal ones the lowest: the model that is closest to the start.

    The scores must be those of `val`: an alpha chosen on test images makes their score too high.
    """
    sign = 1 if mode == "max" else -1
    return max(points, key=lambda point: (sign * point.score, -point.alpha)).alpha


class MovingAverage(torch.nn.Module):
    """A copy of a network that follows it: after a step n, counted from 0, it keeps the share min(decay, (1 + n) / (10 + n)) of itself, so
    that the first weights are soon forgotten. Buffers are copied. Its state is that of the copy and the number of steps.

    If the network is sharded over processes, so must the copy be; each process then averages its parts.
    """

    def __init__(self, network: torch.nn.Module, decay: float) -> None:
        super().__init__()
        self.decay, self.copy = decay, copy.deepcopy(network).requires_grad_(False)
        self.register_buffer("num_steps", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, network: torch.nn.Module) -> None:
        """Follow the network by one step."""
        num_steps = cast(torch.Tensor, self.num_steps)
        share = min(self.decay, (1 + int(num_steps)) / (10 + int(num_steps)))
        num_steps += 1
        pairs = [(_local(mine), _local(its)) for mine, its in zip(self.copy.parameters(), network.parameters(), strict=True)]
        torch._foreach_lerp_([mine for mine, _ in pairs], [its for _, its in pairs], 1 - share)
        for mine, its in zip(self.copy.buffers(), network.buffers(), strict=True):
            mine.copy_(its)


def layer_sharpness(network: torch.nn.Module, loss: Callable[[], torch.Tensor], radius: float = 0.05) -> dict[str, float]:
    """For each layer, (L(w + r g / |g|) - L(w)) / r with r the radius and g the layer's gradient of `loss`; its weights stay as they were.

    A layer is a block of a transformer, or a module with parameters of its own. Measured along the path between two models, layers that
    stay sharp are those at which interpolation fails (A. Abdollahpoorrostam, In Search of the Successful Interpolation, 2024,
    arXiv:2410.16476). A layer without a gradient has 0.
    """
    layers: dict[str, list[torch.nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        layers.setdefault(_layer_of(name), []).append(parameter)
    base = loss()
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(base, trained, allow_unused=True)
    gradient_of = {parameter: gradient for parameter, gradient in zip(trained, found, strict=True) if gradient is not None}
    return {name: _sharpness(parameters, gradient_of, loss, float(base.detach()), radius) for name, parameters in layers.items()}


@torch.no_grad()
def _sharpness(
    parameters: Sequence[torch.nn.Parameter],
    gradient_of: Mapping[torch.nn.Parameter, torch.Tensor],
    loss: Callable[[], torch.Tensor],
    base: float,
    radius: float,
) -> float:
    moved = [parameter for parameter in parameters if parameter in gradient_of]
    norm = torch.stack([gradient_of[one].norm() for one in moved]).norm() if moved else torch.zeros(())
    if not norm:
        return 0.0
    kept = [one.clone() for one in moved]
    for one in moved:
        one.add_(gradient_of[one] * (radius / norm))
    sharpness = (float(loss()) - base) / radius
    for one, before in zip(moved, kept, strict=True):
        one.copy_(before)
    return sharpness


def _layer_of(parameter: str) -> str:
    """`visual.transformer.resblocks.3.attn.in_proj_weight` -> `visual.transformer.resblocks.3`; else the parameter's module."""
    parts = parameter.split(".")
    numbers = [place for place, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[: numbers[0] + 1] if numbers else parts[:-1] or parts)


def _local(tensor: torch.Tensor) -> torch.Tensor:
    """The part of a sharded tensor that this process holds; another tensor as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _mean(tensors: Sequence[torch.Tensor], shares: Sequence[float]) -> torch.Tensor:
    if not tensors[-1].is_floating_point():
        return tensors[-1].detach().clone()
    parts = [share * tensor.detach().double() for tensor, share in zip(tensors, shares, strict=True)]
    return torch.stack(parts).sum(dim=0).to(tensors[-1].dtype)


def _check_alike(models: Sequence[Weights]) -> None:
    if not models:
        raise ModelError("there is no model to average; name at least one.")
    shapes = [{name: tuple(tensor.shape) for name, tensor in model.items()} for model in models]
    for other in shapes[1:]:
        differing = sorted(name for name in {*shapes[0], *other} if shapes[0].get(name) != other.get(name))
        if differing:
            raise ModelError(
                f"the weights of the models differ in {differing[0]!r} ({shapes[0].get(differing[0])} and {other.get(differing[0])}); "
                "average models of one architecture."
            )
