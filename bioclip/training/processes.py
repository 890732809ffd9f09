"""One process or many: what torchrun says in the environment, and the few things that many must do together."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from bioclip.models.devices import choose_device


@dataclass(frozen=True)
class Processes:
    """This process's place among all that train together."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """True for the one that writes."""
        return self.rank == 0

    def wrap(self, network: torch.nn.Module) -> torch.nn.Module:
        """`network` with gradients averaged over the processes."""
        if self.world_size == 1:
            return network
        return torch.nn.parallel.DistributedDataParallel(network, device_ids=[self.device] if self.device.type == "cuda" else None)

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Mean of `values` over the processes."""
        if self.world_size > 1:
            dist.all_reduce(values)
            values /= self.world_size
        return values

    def wait(self) -> None:
        """Return when every process has come this far."""
        if self.world_size > 1:
            dist.barrier()


@contextmanager
def join_processes(device: str, environment: Mapping[str, str] = os.environ) -> Iterator[Processes]:
    """Join the group that torchrun's RANK, LOCAL_RANK and WORLD_SIZE describe (NCCL on GPUs, gloo on CPUs); alone without them."""
    rank, world_size = int(environment.get("RANK", 0)), int(environment.get("WORLD_SIZE", 1))
    chosen = choose_device(device, int(environment.get("LOCAL_RANK", 0)))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if world_size > 1:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", rank=rank, world_size=world_size)
    try:
        yield Processes(rank, world_size, chosen)
    finally:
        if world_size > 1:
            dist.destroy_process_group()
