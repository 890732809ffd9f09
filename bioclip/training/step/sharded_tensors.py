"""Tensors that are sharded over the processes (torch's DTensor), and whole ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch.distributed.tensor import DTensor, distribute_tensor


def is_sharded(module: torch.nn.Module) -> bool:
    """True if any parameter is sharded."""
    return any(isinstance(parameter, DTensor) for parameter in module.parameters())


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The whole tensor; for a sharded one every process must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def sharded_like(tensors: Mapping[str, torch.Tensor], examples: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors, sharded as the examples of their names are; whole where those are.

    Each process keeps its part of the tensors that it is given, which must be equal in all.
    """
    return {name: _sharded_like(tensor, examples.get(name)) for name, tensor in tensors.items()}


def empty_like_shards(shape: Sequence[int], dtype: torch.dtype, example: torch.Tensor | None) -> torch.Tensor:
    """A tensor without values of this shape, sharded as `example` if that is sharded and has the same shape."""
    if isinstance(example, DTensor) and tuple(example.shape) == tuple(shape):
        return torch.empty_like(example.detach(), dtype=dtype)
    return torch.empty(tuple(shape), dtype=dtype)


def copy_whole(source: torch.nn.Module, target: torch.nn.Module | None) -> None:
    """Copy the tensors of a sharded network into a whole one; called by all processes, with a target in those that need it."""
    targets = {} if target is None else target.state_dict()
    for name, tensor in source.state_dict().items():
        gathered = whole(tensor)
        if targets:
            targets[name].copy_(gathered)


def _sharded_like(tensor: torch.Tensor, example: torch.Tensor | None) -> torch.Tensor:
    if isinstance(tensor, DTensor) or not isinstance(example, DTensor) or tensor.shape != example.shape:
        return tensor
    return distribute_tensor(tensor.to(example.device), example.device_mesh, example.placements, src_data_rank=None)
