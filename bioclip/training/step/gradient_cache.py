"""A step of a batch whose activations do not fit into memory: GradCache (Gao et al. 2021, arXiv:2101.06983).

The features of all pairs are computed in chunks without gradients, then the loss and its gradient for each feature, then the features of
each chunk a second time, whose backward pass starts from those gradients. The result is that of one pass over the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch

from bioclip.training.objectives.contract import Step, at_least_float32
from bioclip.training.step.pair_encoder import Features
from bioclip.training.step.seeds import seed_generators


def run_cached_step(
    step: Step, wrapped: torch.nn.Module, micro_batch_size: int, without_averaging: Callable[[], AbstractContextManager[None]]
) -> torch.Tensor:
    """Leave the gradient of the whole batch in every parameter; returns the loss, detached.

    At most `micro_batch_size` images are encoded at once. `wrapped` is a PairEncoder with its gradients averaged over the processes, which
    `without_averaging` suspends. Generators are seeded alike before both passes of a chunk, so both drop the same patches.
    """
    chunks = list(_chunks(step, micro_batch_size))
    with torch.no_grad():
        parts = [_encode(step, wrapped, number, *chunk) for number, chunk in enumerate(chunks)]
    images_BD, rows_RD = (torch.cat(part).requires_grad_() for part in list(zip(*parts, strict=True))[:2])
    _, _, scale, bias = parts[-1]
    scale = scale.requires_grad_()
    bias = None if bias is None else bias.requires_grad_()
    loss = step.total(images_BD, rows_RD[step.texts.row_of_X], scale, bias)
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = zip(_like(images_BD, [part[0] for part in parts]), _like(rows_RD, [part[1] for part in parts]), strict=True)
    for number, (chunk, (of_images, of_rows)) in enumerate(zip(chunks, gradients, strict=True)):
        if number < len(chunks) - 1:
            with without_averaging():
                features = _encode(step, wrapped, number, *chunk)
                _backward(features[:2], (of_images, of_rows))
        else:
            features = _encode(step, wrapped, number, *chunk)
            _backward(features, (of_images, of_rows, _gradient(scale), None if bias is None else _gradient(bias)))
    return loss.detach()


def _chunks(step: Step, micro_batch_size: int) -> Iterator[tuple[torch.Tensor, tuple[torch.Tensor, ...]]]:
    images = torch.split(step.images_BCHW, micro_batch_size)
    yield from zip(images, step.texts.chunks(len(images)), strict=True)


def _encode(step: Step, wrapped: torch.nn.Module, number: int, images: torch.Tensor, groups: tuple[torch.Tensor, ...]) -> Features:
    seed_generators(step.seed + number)
    with step.autocast():
        images_BD, rows_RD, scale, bias = wrapped(images, groups)
    return at_least_float32(images_BD), at_least_float32(rows_RD), scale, bias


def _gradient(leaf: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def _like(leaf: torch.Tensor, parts: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return torch.split(_gradient(leaf), [len(part) for part in parts])


def _backward(outputs: tuple[torch.Tensor | None, ...], gradients: tuple[torch.Tensor | None, ...]) -> None:
    """Backward pass of all outputs that depend on a trained parameter."""
    pairs = [(one, gradient) for one, gradient in zip(outputs, gradients, strict=True) if one is not None and one.requires_grad]
    torch.autograd.backward([one for one, _ in pairs], [gradient for _, gradient in pairs])
