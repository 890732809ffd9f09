"""What a run will need, before it starts: memory of each device, steps, epochs and hours.

Memory is counted, not guessed: the network is built without weights, one forward pass of its training step is run on tensors without data
(torch's FakeTensorMode), and the bytes that autograd keeps for the backward pass are summed. Weights and gradients take 4 bytes a
parameter, AdamW's two moments 8, the moving average 4. A sharded run (FSDP) holds its share of these, and whole, with gradients, the
parameters outside of the blocks and those of two blocks: the one that computes and the one that is fetched. Hours are operations divided by
an assumed share of the device's peak, or on a CPU by the time of a few pairs on this machine.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from bioclip.errors import TrainingError
from bioclip.models.adaptation import restrict_training
from bioclip.models.hollow import hollow_network, image_px_of
from bioclip.models.towers import plain_blocks
from bioclip.training.step.flops import count_pair_flops, peak_flops
from bioclip.training.step.pair_encoder import PairEncoder
from bioclip.training.step.precision import autocast

if TYPE_CHECKING:
    from bioclip.settings import TrainingSettings

ASSUMED_UTILISATION = 0.2
"""Share of a GPU's peak where no run is measured; published CLIP trainings reach 0.09 to 0.3."""
_CONTEXT_GB, _RESERVE = 1.0, 1.1
"""CUDA's own memory; fragmentation and buffers."""
_TIMED_PAIRS = 8
_GB = 1e9
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class Device:
    """A device to train on. `memory_gb` and `peak_flops` are None where unknown."""

    name: str
    memory_gb: float | None
    peak_flops: float | None


@dataclass(frozen=True)
class Forecast:
    """Memory in 10^9 bytes on each device, for its share of the batch; `hours` is None where no speed is known, `basis` says why."""

    num_parameters: int
    num_trained: int
    num_steps: int
    num_pairs: int
    epochs: float
    state_gb: float
    activations_gb: float
    logits_gb: float
    memory_gb: float
    available_gb: float | None
    gflops_per_pair: float
    pairs_per_second: float | None
    hours: float | None
    basis: str


def forecast_run(settings: TrainingSettings, num_samples: float, device: Device, num_processes: int) -> Forecast:
    """Forecast of a run on `num_samples` training images; raises as `hollow_network` does. What objectives add is not counted."""
    network = hollow_network(settings.model)
    image_px, context = image_px_of(network), int(network.context_length)  # type: ignore[arg-type]
    flops = count_pair_flops(network, image_px, context)
    num_parameters = sum(one.numel() for one in network.parameters())
    per_pair, fixed, num_trained = saved_bytes(settings, network)
    local = math.ceil(settings.batch_size / num_processes)
    at_once = min(settings.micro_batch_size or local, local)
    kept = 4 * num_parameters * (2 if settings.ema_decay else 1) + 12 * num_trained
    state = kept / num_processes + gathered_bytes(network) if settings.parallelism == "fsdp" else kept
    width = int(network.visual.output_dim if hasattr(network.visual, "output_dim") else 512)  # type: ignore[arg-type]
    logits = 4 * (4 * settings.batch_size * width) + 4 * local * min(settings.batch_size, 4096)
    pixels = 2 * 3 * image_px**2 * local
    activations = at_once * per_pair + fixed + pixels
    total = _RESERVE * (state + activations + logits) / _GB + (_CONTEXT_GB if device.peak_flops else 0)
    per_pair_flops = flops.per_image + flops.of_text(context)
    speed, basis = _speed(settings, device, num_processes, per_pair_flops)
    num_pairs = settings.num_steps * settings.batch_size
    return Forecast(
        num_parameters=num_parameters,
        num_trained=num_trained,
        num_steps=settings.num_steps,
        num_pairs=num_pairs,
        epochs=num_pairs / num_samples if num_samples else 0.0,
        state_gb=state / _GB,
        activations_gb=activations / _GB,
        logits_gb=logits / _GB,
        memory_gb=total,
        available_gb=device.memory_gb,
        gflops_per_pair=per_pair_flops / 1e9,
        pairs_per_second=speed,
        hours=num_pairs / speed / 3600 if speed else None,
        basis=basis,
    )


def check_fits(forecast: Forecast, settings: TrainingSettings, num_processes: int) -> None:
    """Raise TrainingError where a run needs more memory than there is, with a setting that makes it fit."""
    if forecast.available_gb is None or forecast.memory_gb <= forecast.available_gb:
        return
    local = math.ceil(settings.batch_size / num_processes)
    left = forecast.available_gb / _RESERVE - forecast.state_gb - forecast.logits_gb - _CONTEXT_GB
    fitting = int(left / forecast.activations_gb * min(settings.micro_batch_size or local, local)) if left > 0 else 0
    remedy = "choose a smaller model, or more devices with training.parallelism=fsdp"
    if fitting >= 1:
        smaller = 2 ** int(math.log2(fitting))
        remedy = f"set training.micro_batch_size={smaller} (same result, a second forward pass)"
        remedy += "" if settings.grad_checkpointing else " or training.grad_checkpointing=true"
    raise TrainingError(
        f"the run needs about {forecast.memory_gb:.1f} GB on each device, of which {forecast.available_gb:.1f} GB are available; {remedy}."
    )


def saved_bytes(settings: TrainingSettings, network: torch.nn.Module) -> tuple[float, float, int]:
    """(bytes that autograd keeps for a pair, bytes independent of the pairs, trained parameters) of a step; `network` is on `meta`."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        _fill(network)
        restrict_training(network, settings.adaptation, settings.seed)
        if settings.grad_checkpointing:
            network.set_grad_checkpointing()  # type: ignore[operator]
        network.train()
        every = settings.grad_checkpoint_every if settings.grad_checkpointing else 0
        encoder = PairEncoder(network, every)
        two, four = (_saved(encoder, num_pairs, settings.precision) for num_pairs in (2, 4))
        num_trained = sum(one.numel() for one in network.parameters() if one.requires_grad)
    per_pair = (four - two) / 2
    return per_pair, max(0.0, two - 2 * per_pair), num_trained


def gathered_bytes(network: torch.nn.Module) -> float:
    """Bytes of weights and gradients that each process of a sharded run holds whole at one time."""
    blocks = [sum(one.numel() for one in block.parameters()) for block in plain_blocks(network)]
    outside = sum(one.numel() for one in network.parameters()) - sum(blocks)
    return 8.0 * (outside + sum(sorted(blocks)[-2:]))


def describe_device(name: str, precision: str, peak_tflops: float) -> Device:
    """The device that `training.device` chooses here; `peak_tflops` 0 takes the peak from its name."""
    if name != "cpu" and torch.cuda.is_available():
        found = torch.cuda.get_device_name()
        peak = peak_tflops * 1e12 or peak_flops(found, precision)
        return Device(found, torch.cuda.get_device_properties(0).total_memory / _GB, peak)
    return Device("cpu", _main_memory() / _GB, None)


def _saved(encoder: PairEncoder, num_pairs: int, precision: str) -> int:
    network: Any = encoder.network
    own = {one.untyped_storage()._cdata for one in (*network.parameters(), *network.buffers())}
    kept: dict[int, tuple[int, Any]] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = (storage.nbytes(), storage)  # held, so that no later storage has its address
        return tensor

    side = image_px_of(network)
    images, tokens = torch.empty(num_pairs, 3, side, side), torch.zeros(num_pairs, int(network.context_length), dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), autocast(torch.device("cpu"), precision):
        outputs = encoder(images, [tokens])
    del outputs
    return sum(size for size, _ in kept.values())


def _fill(network: torch.nn.Module) -> None:
    """Give the tensors of a network on `meta` a device; called in FakeTensorMode, where they have no data either."""
    for module in network.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = torch.nn.Parameter(torch.empty(parameter.shape, dtype=parameter.dtype))
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


def _speed(settings: TrainingSettings, device: Device, num_processes: int, flops: float) -> tuple[float | None, str]:
    if device.peak_flops:
        speed = num_processes * ASSUMED_UTILISATION * device.peak_flops / flops
        return speed, f"{ASSUMED_UTILISATION:.0%} of the peak of {num_processes} x {device.name}, not measured"
    if device.name != "cpu":
        return None, f"the peak of {device.name} is unknown; set training.peak_tflops"
    return num_processes * time_pairs(settings), f"{_TIMED_PAIRS} pairs timed on this machine, without the reading of images"


def time_pairs(settings: TrainingSettings) -> float:
    """Pairs per second of forward and backward pass of a few pairs on this machine's CPU."""
    network = hollow_network(settings.model).to_empty(device="cpu")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1e-3)
    side = image_px_of(network)
    images = torch.zeros(_TIMED_PAIRS, 3, side, side)
    tokens = torch.ones(_TIMED_PAIRS, int(network.context_length), dtype=torch.int64)  # type: ignore[arg-type]
    durations = []
    for _ in range(2):  # the first is slow: memory is new
        started = time.perf_counter()
        with autocast(torch.device("cpu"), settings.precision):
            images_BD, texts_BD, scale, _ = PairEncoder(network)(images, [tokens])
        (scale * images_BD.float() @ texts_BD.float().T).sum().backward()
        durations.append(time.perf_counter() - started)
    return _TIMED_PAIRS / durations[-1]


def _main_memory() -> float:
    total = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    try:
        limit = _CGROUP_LIMIT.read_text(encoding="ascii").strip()
    except OSError:
        return total
    return total if limit == "max" else min(total, float(limit))
