"""InfoNCE in strips of the matrix of logits, so that memory grows with the batch and not its square (Inf-CL, arXiv:2410.17243).

The forward pass keeps only the logarithm of each softmax's denominator; the backward pass computes each strip's logits again. In a single
process a strip serves both directions, so the logits are computed twice a step and four products are made where autograd makes six.
All results that remain after a strip are allocated before the first strip. An allocation between strips would fragment the memory that a
strip frees, the next strip could not reuse it, and memory on a CPU would again grow with the square of the batch.

The last letters of a tensor's name are its shape:
B  pairs of this process      G  pairs of all processes      S  rows of one strip      D  width of the embeddings
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from bioclip.training.processes import Processes

STRIP_LOGITS = 1 << 22
"""Logits of one strip; 16 MB in float32."""


def info_nce(
    images_BD: torch.Tensor, texts_BD: torch.Tensor, logit_scale: torch.Tensor, processes: Processes, strip_logits: int = STRIP_LOGITS
) -> torch.Tensor:
    """Mean of the cross-entropies of images against texts and of texts against images (Radford et al. 2021).

    Each process scores its own B rows against the gathered features of all, gradients included, so that the mean of the gradients over the
    processes is that of one process with the whole batch.
    """
    if processes.world_size == 1:
        return _apply(_PairwiseInfoNce, images_BD, texts_BD, logit_scale, strip_logits)
    first = processes.rank * len(images_BD)
    of_images = _apply(_RowInfoNce, images_BD, processes.gather(texts_BD), logit_scale, first, strip_logits)
    of_texts = _apply(_RowInfoNce, texts_BD, processes.gather(images_BD), logit_scale, first, strip_logits)
    return (of_images + of_texts) / 2


def _apply(function: type[torch.autograd.Function], *arguments: Any) -> torch.Tensor:
    result: torch.Tensor = function.apply(*arguments)  # type: ignore[no-untyped-call]
    return result


def _strips(num_rows: int, num_columns: int, strip_logits: int) -> Iterator[slice]:
    rows = max(1, strip_logits // num_columns)
    for start in range(0, num_rows, rows):
        yield slice(start, min(start + rows, num_rows))


def _scale_gradient(logit_scale: torch.Tensor, rows_BD: torch.Tensor, gradient_BD: torch.Tensor) -> torch.Tensor:
    """Gradient of the scale from that of the rows: logits are scale * row . column, so scale * d/d scale = row . d/d row, summed."""
    return ((rows_BD * gradient_BD).sum() / logit_scale).reshape(logit_scale.shape)


class _RowInfoNce(torch.autograd.Function):
    """Mean cross-entropy of rows [B, D] against columns [G, D]; row i belongs to column first + i."""

    @staticmethod
    def forward(
        ctx: Any, rows_BD: torch.Tensor, columns_GD: torch.Tensor, logit_scale: torch.Tensor, first: int, strip_logits: int
    ) -> torch.Tensor:
        scaled_BD = logit_scale * rows_BD
        lse_B, own_B = rows_BD.new_empty(len(rows_BD)), rows_BD.new_empty(len(rows_BD))
        for strip in _strips(len(rows_BD), len(columns_GD), strip_logits):
            logits_SG = scaled_BD[strip] @ columns_GD.T
            lse_B[strip] = logits_SG.logsumexp(1)
            own_B[strip] = logits_SG.diagonal(first + strip.start)[: len(logits_SG)]
        ctx.save_for_backward(rows_BD, columns_GD, logit_scale, lse_B)
        ctx.first, ctx.strip_logits = first, strip_logits
        return (lse_B - own_B).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows_BD, columns_GD, logit_scale, lse_B = ctx.saved_tensors
        num_rows, scaled_BD = len(rows_BD), logit_scale * rows_BD
        rows_gradient_BD, columns_gradient_GD = torch.empty_like(rows_BD), torch.zeros_like(columns_GD)
        for strip in _strips(num_rows, len(columns_GD), ctx.strip_logits):
            shares_SG = (scaled_BD[strip] @ columns_GD.T).sub_(lse_B[strip, None]).exp_()
            shares_SG.diagonal(ctx.first + strip.start).sub_(1)
            rows_gradient_BD[strip] = shares_SG @ columns_GD
            columns_gradient_GD.addmm_(shares_SG.T, scaled_BD[strip])
        weight = gradients[0] / num_rows
        rows_gradient_BD *= weight * logit_scale
        return rows_gradient_BD, columns_gradient_GD * weight, _scale_gradient(logit_scale, rows_BD, rows_gradient_BD), None, None


class _PairwiseInfoNce(torch.autograd.Function):
    """The mean of both directions for B pairs of one process."""

    @staticmethod
    def forward(ctx: Any, images_BD: torch.Tensor, texts_BD: torch.Tensor, logit_scale: torch.Tensor, strip_logits: int) -> torch.Tensor:
        scaled_BD = logit_scale * images_BD
        image_lse_B, own_B = images_BD.new_empty(len(images_BD)), images_BD.new_empty(len(images_BD))
        text_lse_B = images_BD.new_full((len(texts_BD),), -torch.inf)
        for strip in _strips(len(images_BD), len(texts_BD), strip_logits):
            logits_SB = scaled_BD[strip] @ texts_BD.T
            image_lse_B[strip] = logits_SB.logsumexp(1)
            own_B[strip] = logits_SB.diagonal(strip.start)
            torch.logaddexp(text_lse_B, logits_SB.logsumexp(0), out=text_lse_B)
        ctx.save_for_backward(images_BD, texts_BD, logit_scale, image_lse_B, text_lse_B)
        ctx.strip_logits = strip_logits
        return ((image_lse_B + text_lse_B) / 2 - own_B).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        images_BD, texts_BD, logit_scale, image_lse_B, text_lse_B = ctx.saved_tensors
        scaled_BD = logit_scale * images_BD
        images_gradient_BD, texts_gradient_BD = torch.empty_like(images_BD), torch.zeros_like(texts_BD)
        for strip in _strips(len(images_BD), len(texts_BD), ctx.strip_logits):
            logits_SB = scaled_BD[strip] @ texts_BD.T
            shares_SB = (logits_SB - image_lse_B[strip, None]).exp_()
            shares_SB += logits_SB.sub_(text_lse_B).exp_()
            shares_SB.diagonal(strip.start).sub_(2)
            images_gradient_BD[strip] = shares_SB @ texts_BD
            texts_gradient_BD.addmm_(shares_SB.T, scaled_BD[strip])
        weight = gradients[0] / (2 * len(images_BD))
        images_gradient_BD *= weight * logit_scale
        return images_gradient_BD, texts_gradient_BD * weight, _scale_gradient(logit_scale, images_BD, images_gradient_BD), None
