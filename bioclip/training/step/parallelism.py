"""The network over several processes: copied to each (DDP), or sharded over them (FSDP2)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from bioclip.models.towers import plain_blocks
from bioclip.training.processes import Processes
from bioclip.training.step.pair_encoder import PairEncoder
from bioclip.training.step.sharded_tensors import is_sharded


def replicate(encoder: PairEncoder, processes: Processes, is_static: bool) -> torch.nn.Module:
    """`encoder` with gradients averaged over the processes while the backward pass runs.

    `is_static` promises that every step runs one backward pass over the same parameters.
    """
    if processes.world_size == 1:
        return encoder
    device_ids = [processes.device] if processes.device.type == "cuda" else None
    return DistributedDataParallel(encoder, device_ids=device_ids, static_graph=is_static)


def shard(encoder: PairEncoder, processes: Processes) -> None:
    """Shard the parameters in place (FSDP2): each transformer block but a tower's last for itself, all others together.

    The last block belongs to the others since its parts are called one by one. Scalars stay whole in every process.
    """
    mesh = init_device_mesh(processes.device.type, (processes.world_size,))
    scalars = {parameter for parameter in encoder.parameters() if parameter.ndim == 0}
    for block in plain_blocks(encoder.network):
        fully_shard(block, mesh=mesh)
    fully_shard(encoder, mesh=mesh, ignored_params=scalars)


def unsharded_parameters(network: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Parameters of a sharded network that are whole in every process; none if it is not sharded."""
    return [parameter for parameter in network.parameters() if not isinstance(parameter, DTensor)] if is_sharded(network) else []


@contextmanager
def without_averaging(wrapped: torch.nn.Module) -> Iterator[None]:
    """Gradients of backward passes below stay in this process, to be averaged with those of the next pass."""
    if isinstance(wrapped, DistributedDataParallel):
        with wrapped.no_sync():
            yield
    elif isinstance(wrapped, FSDPModule):
        wrapped.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            wrapped.set_requires_gradient_sync(True)
    else:
        yield
