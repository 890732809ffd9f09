"""The device that a model runs on."""

from __future__ import annotations

import torch

from bioclip.errors import TrainingError


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The device for `auto`, `cpu` or `cuda`; raises TrainingError when there is no such device."""
    if name not in {"auto", "cpu", "cuda"}:
        raise TrainingError(f"device {name!r} is unknown; choose auto, cpu or cuda.")
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise TrainingError("device is 'cuda' but torch sees no GPU; install a CUDA build of torch or set device to cpu.")
    return torch.device("cuda", local_rank) if has_cuda and name != "cpu" else torch.device("cpu")
