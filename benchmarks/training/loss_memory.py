"""Peak memory of the contrastive loss, forward and backward, computed in strips of the matrix of logits and on the whole matrix.

Peer: open_clip's `ClipLoss`, which keeps the matrix and its gradient. Each case is a process of its own, on features of width 512 in
float32; its memory is the growth of the process's peak over that before the loss (VmHWM, after a reset through /proc/self/clear_refs).
The losses and gradients of both are compared as well.
"""

from __future__ import annotations

import importlib.metadata
import multiprocessing
from pathlib import Path

import numpy as np
import torch

from benchmarks.measuring import FactTable, Report
from benchmarks.registry import Context
from bioclip.models.clip import import_open_clip
from bioclip.training.processes import Processes
from bioclip.training.step.info_nce import info_nce

WIDTH, _QUICK, _SIZES = 512, (256, 512), (1024, 2048, 4096, 8192)


def run(context: Context) -> Report:
    """Memory by batch size, growth from each to its double, and the distance of both losses."""
    sizes = _QUICK if context.quick else _SIZES
    torch.set_num_threads(1)
    import_open_clip()  # once, for all processes, which are forks of this one
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        strips = [pool.apply(measure, (size, True)) for size in sizes]
        whole = [pool.apply(measure, (size, False)) for size in sizes]
    rows: list[tuple[object, ...]] = []
    before: tuple[float, float] | None = None
    for size, (mib, loss, norm), (peer_mib, peer_loss, peer_norm) in zip(sizes, strips, whole, strict=True):
        growth = ("", "") if before is None else (round(mib / before[0], 2), round(peer_mib / before[1], 2))
        distance = max(abs(loss / peer_loss - 1), abs(norm / peer_norm - 1))
        rows.append((f"{size:,}", round(mib, 1), growth[0], round(peer_mib, 1), growth[1], f"{distance:.1e}"))
        before = mib, peer_mib
    peer = f"open_clip {importlib.metadata.version('open-clip-torch')}"
    header = ("pairs", "in strips, MiB", "growth", f"{peer} ClipLoss, MiB", "growth ", "relative difference of loss or gradient norm")
    return Report((), (FactTable(f"Peak memory of the loss over its inputs, width {WIDTH}, float32", header, tuple(rows)),))


def measure(num_pairs: int, in_strips: bool) -> tuple[float, float, float]:
    """MiB of peak memory above that of the features, the loss, and the norm of the image features' gradient."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(num_pairs)
    images, texts = (
        torch.nn.functional.normalize(torch.randn(num_pairs, WIDTH, generator=generator), dim=1).requires_grad_() for _ in range(2)
    )
    scale = torch.tensor(1 / 0.07, requires_grad=True)
    peer_loss = import_open_clip().ClipLoss()
    _step(
        images[:8].detach().requires_grad_(),
        texts[:8].detach().requires_grad_(),
        scale.detach().requires_grad_(),
        in_strips,
        peer_loss,
    )  # what the first call allocates
    before = _reset_peak_mib()
    loss = _step(images, texts, scale, in_strips, peer_loss)
    used = _memory_mib("VmHWM") - before
    gradient = images.grad
    assert gradient is not None
    return used, loss, float(np.linalg.norm(gradient.numpy()))


def _step(images: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor, in_strips: bool, peer_loss: torch.nn.Module) -> float:
    alone = Processes(0, 1, torch.device("cpu"))
    loss = info_nce(images, texts, scale, alone) if in_strips else peer_loss(images, texts, scale)
    loss.backward()
    return float(loss.detach())


def _reset_peak_mib() -> float:
    """Resident memory now, which becomes the peak."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory_mib("VmHWM")


def _memory_mib(name: str) -> float:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) / 1024
