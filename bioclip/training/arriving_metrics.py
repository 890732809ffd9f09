"""Metrics of steps on their way from the device to the host, averaged over the processes.

On a CPU they are there at once. On a GPU the step before is waited for while the device computes the next one, so a metric arrives one step
late and the device never idles for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from bioclip.training.processes import Processes


class ArrivingMetrics:
    """A queue of the metrics of steps; every process takes the same metrics at the same step.

    With each step go two flags, whether this process was asked to stop and whether its writing failed. `stops` and `failed` are True once
    the metrics of a step were taken at which that was so in any process.
    """

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self.stops = self.failed = False
        self._queue: deque[tuple[torch.Tensor, torch.cuda.Event | None]] = deque()

    def push(self, row: torch.Tensor, stops: bool, failed: bool) -> None:
        """Add this process's metrics `row` [M] of a step, on the device."""
        flags = torch.tensor([stops, failed], dtype=torch.float64, device=row.device)
        values = self.processes.mean(torch.cat([row.double(), flags]))
        if values.device.type != "cuda":
            self._queue.append((values, None))
            return
        on_host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        on_host.copy_(values, non_blocking=True)
        copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        copied.record()
        self._queue.append((on_host, copied))

    def take(self, everything: bool) -> Iterator[list[float]]:
        """Metrics [M] of each step that has arrived, oldest first; of all steps if `everything`."""
        while self._queue and (everything or self._queue[0][1] is None or len(self._queue) > 1):
            values, copied = self._queue.popleft()
            if copied is not None:
                copied.synchronize()
            *row, stops, failed = values.tolist()
            self.stops |= stops > 0
            self.failed |= failed > 0
            yield row
