"""Full-batch training of a few weights on the support in double precision, by Adam with a cosine schedule. Needs torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


def train(
    start: Sequence[NDArray[np.float64]],
    logits: Callable[[Sequence[torch.Tensor]], torch.Tensor],
    labels: NDArray[np.int64],
    learning_rate: float,
    num_steps: int,
) -> list[NDArray[np.float64]]:
    """The weights after `num_steps` steps on the mean cross-entropy of `logits(weights)` [S, C] with `labels` [S].

    Adam (Kingma and Ba 2015) with its usual betas and epsilon; the rate falls to 0 along half a cosine.
    """
    import torch

    weights = [torch.tensor(one, dtype=torch.float64, requires_grad=True) for one in start]
    optimizer = torch.optim.Adam(weights, lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    targets = torch.from_numpy(labels)
    for _ in range(num_steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits(weights), targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return [one.detach().numpy() for one in weights]
