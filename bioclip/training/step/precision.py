"""Arithmetic of a run: bf16 by autocast, TF32 for products of float32 on GPUs."""

from __future__ import annotations

import torch


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context of forward passes; enters bf16 only for the precision `bf16`."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def allow_tf32(device: torch.device, precision: str) -> None:
    """Let a GPU multiply float32 matrices in TF32, unless the precision is `fp32`; set for the whole process."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("highest" if precision == "fp32" else "high")


def store_on(network: torch.nn.Module, device: torch.device) -> None:
    """Move a network to the device; on GPUs with channels last, as tensor cores read convolutions."""
    network.to(device)
    if device.type == "cuda":
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def as_stored(images_BCHW: torch.Tensor) -> torch.Tensor:
    """Images in the layout of a network that `store_on` has moved to their device."""
    return images_BCHW.contiguous(memory_format=torch.channels_last) if images_BCHW.is_cuda else images_BCHW
