"""One step of training: forward and backward pass, then the update of the weights."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from bioclip.digests import digest_value
from bioclip.errors import SettingsError
from bioclip.models.averaging import MovingAverage
from bioclip.models.towers import text_pooling
from bioclip.training.objectives.contract import Outputs, Step
from bioclip.training.optimization import build_optimizer, take_step
from bioclip.training.step.flops import PairFlops, count_pair_flops
from bioclip.training.step.gradient_cache import run_cached_step
from bioclip.training.step.pair_encoder import PairEncoder
from bioclip.training.step.parallelism import replicate, shard, unsharded_parameters, without_averaging
from bioclip.training.step.plain_step import run_plain_step
from bioclip.training.step.precision import allow_tf32, as_stored, autocast
from bioclip.training.step.seeds import seed_generators
from bioclip.training.step.sharded_tensors import copy_whole, is_sharded
from bioclip.training.step.texts import TextGrouping, bucket_lengths, distinct_texts

if TYPE_CHECKING:
    from bioclip.models.clip import ClipModel
    from bioclip.settings import TrainingSettings
    from bioclip.training.data import Batch
    from bioclip.training.objectives.weighted import WeightedObjectives
    from bioclip.training.processes import Processes


_MAX_TEXT_GROUPS = 3
STEP_METRICS = ("loss", "logit_scale", "gradient_norm")
"""Names of the metrics of a step."""


def build_trainer(settings: TrainingSettings, processes: Processes, model: ClipModel, objectives: WeightedObjectives) -> Trainer:
    """The trainer of a model that is on its device; raises SettingsError for settings that exclude each other."""
    network, leads = model.network, objectives.leader is not None
    _check(settings, network, leads)
    allow_tf32(processes.device, settings.precision)
    if settings.grad_checkpointing:
        network.set_grad_checkpointing()  # type: ignore[operator]
    context_length = model.tokenizer([""]).shape[1]
    flops = count_pair_flops(network, model.image_px, context_length)
    encoder = PairEncoder(
        network, settings.grad_checkpoint_every if settings.grad_checkpointing else 0, "inductor" if settings.compile else ""
    )
    averaged = MovingAverage(network, settings.ema_decay) if settings.ema_decay else None
    result = replace(model, network=network if averaged is None else averaged.copy, no_texts=objectives.no_texts)
    shards = settings.parallelism == "fsdp" and processes.world_size > 1
    if shards:
        result = replace(result, network=_whole_copy(network, settings) if processes.is_first else network)
        shard(encoder, processes)
        if averaged is not None:
            shard(PairEncoder(averaged.copy), processes)
    optimizer = build_optimizer([*network.parameters(), *objectives.parameters()], settings)
    wrapped = encoder if leads or shards else replicate(encoder, processes, is_static=not settings.micro_batch_size)
    on_cpu = processes.device.type == "cpu"
    grouping = TextGrouping(
        text_pooling(network),
        max_groups=_MAX_TEXT_GROUPS if on_cpu and not settings.compile else 1,
        lengths=bucket_lengths(context_length) if settings.compile else (),
    )
    return Trainer(settings, processes, model, wrapped, objectives, optimizer, grouping, flops, result, averaged)


def _whole_copy(network: torch.nn.Module, settings: TrainingSettings) -> torch.nn.Module:
    """A copy of a network that is not sharded yet, on its device if it will be evaluated there."""
    is_evaluated = settings.probes.every_steps or settings.mix_with_start
    copied = copy.deepcopy(network)
    return copied if is_evaluated else copied.cpu()


def _check(settings: TrainingSettings, network: torch.nn.Module, leads: bool) -> None:
    if leads and (settings.micro_batch_size or settings.parallelism == "fsdp"):
        raise SettingsError(
            "an objective that takes over the step runs the network itself; leave training.micro_batch_size at 0 and training.parallelism "
            "at ddp."
        )
    if settings.micro_batch_size and any(isinstance(part, torch.nn.modules.batchnorm._BatchNorm) for part in network.modules()):
        raise SettingsError(
            f"training.micro_batch_size = {settings.micro_batch_size}: model {settings.model.name!r} has batch norms, whose statistics "
            "would be those of a part of the batch; set it to 0 or choose an architecture without them."
        )


@dataclass
class Trainer:
    """A model and what updates it. `wrapped` is a PairEncoder of the model's network with gradients averaged over the processes.

    `averaged` follows the network's weights, None without `ema_decay`. `result` is the model that the run ends with: that of the average
    with `ema_decay`; of a sharded network, the whole model in the first process. `num_flops` are the operations of this process's steps.
    """

    settings: TrainingSettings
    processes: Processes
    model: ClipModel
    wrapped: torch.nn.Module
    objectives: WeightedObjectives
    optimizer: torch.optim.AdamW
    grouping: TextGrouping
    flops: PairFlops
    result: ClipModel
    averaged: MovingAverage | None = None
    num_flops: int = 0

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """Parameters of the network, then of the objectives."""
        return [*self.model.network.parameters(), *self.objectives.parameters()]

    def run_step(self, number: int, batch: Batch) -> torch.Tensor:
        """Update the weights by step `number`, counted from 0; returns its STEP_METRICS [M] on the device."""
        seed = int(digest_value([self.settings.seed, number, self.processes.rank])[:15], 16)
        seed_generators(seed)
        step = self._prepare(number, seed, batch)
        self.num_flops += self.flops.of_step(len(batch.keys), step.texts.groups)
        loss = self._leave_gradients(step)
        logit_scale = self.model.network.get_parameter("logit_scale").detach().exp().reshape(())
        norm = take_step(self.model.network, self.parameters, self.optimizer, number, self.settings)
        if self.averaged is not None:
            self.averaged.update(self.model.network)
        return torch.stack([loss, logit_scale, norm]).double()

    def gather_result(self) -> None:
        """Give `result` the present weights if the network is sharded; called by all processes."""
        trained = self.model.network if self.averaged is None else self.averaged.copy
        if is_sharded(trained):
            copy_whole(trained, self.result.network if self.processes.is_first else None)

    def _leave_gradients(self, step: Step) -> torch.Tensor:
        """Leave in every parameter the gradient of the whole batch; returns the loss, detached."""
        if self.objectives.leader is not None:
            loss = self.objectives.leader.run_step(step)
            self.processes.average_gradients(self.parameters)
            return loss
        size = self.settings.micro_batch_size
        if size and size < len(step.images_BCHW):
            loss = run_cached_step(step, self.wrapped, size, lambda: without_averaging(self.wrapped))
        else:
            loss = run_plain_step(step, self.wrapped)
        self.processes.average_gradients([*self.objectives.parameters(), *unsharded_parameters(self.model.network)])
        return loss

    def _prepare(self, number: int, seed: int, batch: Batch) -> Step:
        device, added = self.processes.device, self.objectives.added_texts(batch)
        all_added = [text for part in added for text in part]
        tokens_RT, text_of_X = distinct_texts(batch.captions, batch.tokens_UL, batch.text_of_B, all_added, self.model.tokenizer)
        texts, moved = self.grouping.group(tokens_RT, text_of_X).to(device), batch.to(device)

        def total(images_BD: torch.Tensor, texts_XD: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
            num_pairs = len(batch.keys)
            outputs = Outputs(images_BD, texts_XD[:num_pairs], scale, bias, texts_XD[num_pairs:])
            return self.objectives.total(outputs, [len(part) for part in added], moved)

        return Step(
            number=number,
            seed=seed,
            batch=moved,
            images_BCHW=as_stored(self.model.normalise(moved.images_BCHW)),
            texts=texts,
            network=self.model.network,
            total=total,
            autocast=lambda: autocast(device, self.settings.precision),
        )
