"""One step of training: forward and backward pass, then the update of the weights."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy
import torch

from bioclip.digests import digest_value
from bioclip.training.objectives.contract import Outputs, Step
from bioclip.training.optimization import take_step
from bioclip.training.step.plain_step import run_plain_step

if TYPE_CHECKING:
    from bioclip.models.clip import ClipModel
    from bioclip.settings import TrainingSettings
    from bioclip.training.data import Batch
    from bioclip.training.objectives.weighted import WeightedObjectives
    from bioclip.training.processes import Processes


STEP_METRICS = ("loss", "logit_scale", "gradient_norm")
"""Names of the metrics of a step."""


@dataclass(frozen=True)
class Trainer:
    """A model and what updates it. `wrapped` is the model's network with gradients averaged over the processes."""

    settings: TrainingSettings
    processes: Processes
    model: ClipModel
    wrapped: torch.nn.Module
    objectives: WeightedObjectives
    optimizer: torch.optim.AdamW

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """Parameters of the network, then of the objectives."""
        return [*self.model.network.parameters(), *self.objectives.parameters()]

    def run_step(self, number: int, batch: Batch) -> torch.Tensor:
        """Update the weights by step `number`, counted from 0; returns its STEP_METRICS [M] on the device."""
        seed = int(digest_value([self.settings.seed, number, self.processes.rank])[:15], 16)
        seed_generators(seed)
        step = self._prepare(number, seed, batch.to(self.processes.device))
        if self.objectives.leader is None:
            loss = run_plain_step(step, self.wrapped)
            self.processes.average_gradients(self.objectives.parameters())
        else:
            loss = self.objectives.leader.run_step(step)
            self.processes.average_gradients(self.parameters)
        logit_scale = self.model.network.get_parameter("logit_scale").detach().exp().reshape(())
        norm = take_step(self.model.network, self.parameters, self.optimizer, number, self.settings)
        return torch.stack([loss, logit_scale, norm]).double()

    def _prepare(self, number: int, seed: int, batch: Batch) -> Step:
        device, added = self.processes.device, self.objectives.added_texts(batch)
        tokens_XL = batch.tokens_UL[batch.text_of_B]
        if texts := [text for part in added for text in part]:
            tokens_XL = torch.cat([tokens_XL, self.model.tokenizer(texts).to(device)])

        def total(images_BD: torch.Tensor, texts_XD: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
            num_pairs = len(batch.keys)
            outputs = Outputs(images_BD, texts_XD[:num_pairs], scale, bias, texts_XD[num_pairs:])
            return self.objectives.total(outputs, [len(part) for part in added], batch)

        return Step(
            number=number,
            seed=seed,
            batch=batch,
            images_BCHW=self.model.normalise(batch.images_BCHW),
            tokens_XL=tokens_XL,
            network=self.model.network,
            total=total,
            autocast=lambda: torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.settings.precision == "bf16"),
        )


def seed_generators(seed: int) -> None:
    """Seed the global generators of torch, numpy and Python, so that no draw of a step depends on earlier steps."""
    torch.manual_seed(seed)
    numpy.random.seed(seed % 2**32)
    random.seed(seed)
