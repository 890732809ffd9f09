"""Distributed processes: their description in torchrun's environment, and their collective operations."""

from __future__ import annotations

import os
import resource
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.distributed.nn

from bioclip.errors import TreeOfLifeError
from bioclip.models.devices import choose_device

T = TypeVar("T")

_groups: list[dist.ProcessGroup] = []
"""All groups of this process, also ended ones. If DDP's reducer were the last to hold a gloo group, the group's destructor would run with
the interpreter's lock and could wait forever for a thread that waits for the lock."""


@dataclass(frozen=True)
class Processes:
    """This process's rank among all training processes."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """True for the process that writes files."""
        return self.rank == 0

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Mean of `values` over the processes."""
        if self.world_size > 1:
            dist.all_reduce(values)
            values /= self.world_size
        return values

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        """`rows` [N, ...] of all processes in the order of their ranks [world_size * N, ...], with gradients for floating-point rows.

        A gradient reaches the process whose row it is, summed over the losses of all processes.
        """
        if self.world_size == 1:
            return rows
        if rows.is_floating_point():
            with warnings.catch_warnings():
                # torch deprecates this function; the result is the same
                warnings.filterwarnings("ignore", "torch.distributed.nn.functional.all_gather", FutureWarning)
                return torch.cat(torch.distributed.nn.functional.all_gather(rows))  # type: ignore[no-untyped-call]
        gathered = [torch.empty_like(rows) for _ in range(self.world_size)]
        dist.all_gather(gathered, rows.contiguous())
        return torch.cat(gathered)

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Average gradients over the processes; a parameter without a gradient in any process keeps none."""
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        if self.world_size == 1 or not trained:
            return
        has_gradient = torch.tensor([parameter.grad is not None for parameter in trained], dtype=torch.uint8, device=self.device)
        dist.all_reduce(has_gradient, dist.ReduceOp.MAX)
        for parameter, has in zip(trained, has_gradient.tolist(), strict=True):
            if has:
                parameter.grad = self.mean(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)

    def agree(self, choose: Callable[[], T]) -> T:
        """The result of `choose` in the first process, for all processes; an expected error is raised in all."""
        if self.world_size == 1:
            return choose()
        answer: list[Any] = [None]
        if self.is_first:
            try:
                answer = [choose()]
            except TreeOfLifeError as error:
                answer = [error]
        dist.broadcast_object_list(answer, device=self.device)
        if isinstance(answer[0], TreeOfLifeError):
            raise answer[0]
        chosen: T = answer[0]
        return chosen

    def environment(self) -> dict[str, Any]:
        """Factors besides the settings that can change the last bits of a result: versions, device, threads, number of processes."""
        is_gpu = self.device.type == "cuda"
        return {
            "torch": torch.__version__,
            "open_clip": version("open_clip_torch"),
            "device": torch.cuda.get_device_name(self.device) if is_gpu else self.device.type,
            "num_threads": torch.get_num_threads(),
            "num_processes": self.world_size,
        }

    def peak_memory_bytes(self) -> int:
        """Most memory that tensors of this process have held on its GPU; on CPUs the most that the process has held."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak << 10  # macOS states bytes, Linux KiB

    def new_group(self) -> dist.ProcessGroup | None:
        """A further group of all processes for objects in host memory, whose operations may run in a thread beside those of training; None
        for a single process. Called by all."""
        if self.world_size == 1:
            return None
        group: dist.ProcessGroup = dist.new_group(backend="gloo")
        _groups.append(group)
        return group

    def wait(self) -> None:
        """Wait until every process has called it."""
        if self.world_size > 1:
            dist.barrier()


@contextmanager
def join_processes(device: str, environment: Mapping[str, str] = os.environ) -> Iterator[Processes]:
    """Join the group that torchrun's RANK, LOCAL_RANK and WORLD_SIZE describe (NCCL on GPUs, gloo on CPUs); a single process without
    them."""
    rank, world_size = int(environment.get("RANK", 0)), int(environment.get("WORLD_SIZE", 1))
    chosen = choose_device(device, int(environment.get("LOCAL_RANK", 0)))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if world_size > 1:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", rank=rank, world_size=world_size)
        _groups.append(dist.distributed_c10d._get_default_group())
    try:
        yield Processes(rank, world_size, chosen)
    finally:
        if world_size > 1:
            dist.destroy_process_group()
