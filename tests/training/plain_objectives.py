"""Objectives as a user writes them, and the gradients of a small linear model under one.

B  pairs    E  added texts    D  width of the embeddings    W  width of the projector
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, cast

import numpy as np
import torch
from pydantic import Field

from bioclip.models.clip import ClipModel
from bioclip.plugins import read_options
from bioclip.settings import ObjectiveSettings, Settings, TrainingSettings
from bioclip.training.data import Batch
from bioclip.training.data.lineage_matrix import LineageMatrix
from bioclip.training.objectives.contract import Objective, ObjectiveContext, Outputs, Step
from bioclip.training.objectives.weighted import WeightedObjectives, build_objectives
from bioclip.training.processes import Processes, join_processes

NUM_PAIRS, WIDTH = 12, 8
OBJECTIVES_TO_TRY = ("clip", f"{__name__}:build_sigmoid")
ALONE = Processes(0, 1, torch.device("cpu"))
LINEAGES = LineageMatrix(
    names_TR=tuple(tuple(f"{'kpcofgs'[rank]}{row >> (6 - rank) // 3}" for rank in range(7)) for row in range(4)),
    node_TR=np.array([[row >> (6 - rank) // 3 for rank in range(7)] for row in range(4)], dtype=np.int32),
)
CONTEXT = ObjectiveContext(cast(ClipModel, None), LINEAGES, ALONE, TrainingSettings())


class SigmoidOptions(Settings):
    """Options of `build_sigmoid`."""

    width: int = Field(2, gt=0)
    """Width of the projector."""
    vocabulary: tuple[str, ...] = ("a photo of an oak.", "a photo of a fly.")
    """Texts replayed at every step."""


class SigmoidObjective(Objective):
    """Sigmoid loss with the model's bias, in which two images of one species are not negatives, on features with projected ones beside
    them, pushed away from a replayed vocabulary."""

    def __init__(self, options: SigmoidOptions, context: ObjectiveContext, width: int) -> None:
        super().__init__()
        self.options, self.processes = options, context.processes
        self.register_buffer("species_T", torch.as_tensor(context.lineages.node_TR[:, 6]), persistent=False)
        self.projector = torch.nn.Parameter(torch.eye(width, options.width))

    def added_texts(self, batch: Batch) -> Sequence[str]:
        """The vocabulary, turned by one text a step."""
        texts = self.options.vocabulary
        return texts[batch.step % len(texts) :] + texts[: batch.step % len(texts)]

    def loss(self, outputs: Outputs, batch: Batch) -> torch.Tensor:
        """Mean over this process's images and all processes' texts."""
        images_BD, texts_GD = outputs.image_features_BD, self.processes.gather(outputs.text_features_BD)
        bias = 0.0 if outputs.logit_bias is None else outputs.logit_bias
        projected_BG = (images_BD @ self.projector) @ (texts_GD @ self.projector).T
        logits_BG = outputs.logit_scale * images_BD @ texts_GD.T + projected_BG + bias
        species_B, species_G = (
            cast(torch.Tensor, self.species_T)[taxon] for taxon in (batch.taxon_B, self.processes.gather(batch.taxon_B))
        )
        sign_BG = torch.where(species_B[:, None] == species_G, 1.0, -1.0)
        replayed_BE = images_BD @ outputs.added_features_ED.T
        return -torch.nn.functional.logsigmoid(sign_BG * logits_BG).mean() + replayed_BE.square().mean()


def build_sigmoid(options: Mapping[str, Any], context: ObjectiveContext) -> SigmoidObjective:
    """See ObjectiveBuilder."""
    width = WIDTH if context.model is None else int(context.model.config["model_cfg"]["embed_dim"])
    return SigmoidObjective(read_options(SigmoidOptions, options, "objective 'sigmoid'", "training.objectives"), context, width)


class ChunkOptions(Settings):
    """Options of `build_chunked`."""

    num_chunks: int = Field(2, gt=0)
    """Parts that the batch is encoded in."""


class ChunkedStep(Objective):
    """Encodes a batch in parts: first without gradients, then each part again with the gradients that its features have under the sum."""

    takes_over_step: ClassVar[bool] = True

    def __init__(self, options: ChunkOptions) -> None:
        super().__init__()
        self.num_chunks = options.num_chunks

    def loss(self, outputs: Outputs, batch: Batch) -> torch.Tensor:
        """Zero: the other objectives say what is minimised."""
        return outputs.logit_scale.new_zeros(())

    def run_step(self, step: Step) -> torch.Tensor:
        """See Objective."""
        parts = [(step.encode_images, step.images_BCHW.chunk(self.num_chunks)), (step.encode_texts, step.tokens().chunk(self.num_chunks))]
        with torch.no_grad():
            features = [torch.cat([encode(chunk) for chunk in chunks]) for encode, chunks in parts]
        leaves = [feature.requires_grad_() for feature in features]
        loss = step.loss(leaves[0], leaves[1])
        loss.backward()
        for (encode, chunks), leaf in zip(parts, leaves, strict=True):
            assert leaf.grad is not None
            for chunk, gradient in zip(chunks, leaf.grad.split([len(chunk) for chunk in chunks]), strict=True):
                encode(chunk).backward(gradient)
        return loss.detach()


def build_chunked(options: Mapping[str, Any], context: ObjectiveContext) -> ChunkedStep:
    """See ObjectiveBuilder."""
    return ChunkedStep(read_options(ChunkOptions, options, "objective 'chunked'", "training.objectives"))


def build_nothing(options: Mapping[str, Any], context: ObjectiveContext) -> None:
    """Builds no objective."""


class VectorObjective(Objective):
    """Returns a loss for each pair."""

    def loss(self, outputs: Outputs, batch: Batch) -> torch.Tensor:
        """[B]."""
        return (outputs.image_features_BD * outputs.text_features_BD).sum(dim=1)


def build_vector(options: Mapping[str, Any], context: ObjectiveContext) -> VectorObjective:
    """See ObjectiveBuilder."""
    return VectorObjective()


def batch_of(rows: slice) -> Batch:
    """Rows of a batch of NUM_PAIRS pairs whose taxa repeat every four."""
    numbers = torch.arange(NUM_PAIRS)[rows]
    return Batch(0, *[numbers % 4] * 8, keys=tuple(map(str, numbers.tolist())), captions=tuple(map(str, numbers.tolist())))  # type: ignore[arg-type]


def gradients(objectives: WeightedObjectives, rows: slice) -> list[torch.Tensor]:
    """Loss and gradients, for some rows, of two weight matrices, the logit scale, and what the objectives add."""
    generator = torch.Generator().manual_seed(7)
    images_BD, texts_BD, weights = (
        torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in ((NUM_PAIRS, WIDTH), (NUM_PAIRS, WIDTH), (WIDTH, WIDTH))
    )
    objectives.double()
    vision, text, scale = (value.clone().requires_grad_() for value in (weights, weights.T, torch.tensor(14.0, dtype=torch.float64)))
    num_added = [len(part) for part in objectives.added_texts(batch_of(rows))]
    added_ED = torch.nn.functional.normalize(texts_BD[: sum(num_added)] @ text + 1)
    images, texts = torch.nn.functional.normalize(images_BD[rows] @ vision), torch.nn.functional.normalize(texts_BD[rows] @ text)
    value = objectives.total(Outputs(images, texts, scale, None, added_ED), num_added, batch_of(rows))
    value.backward()
    added = [parameter.grad for parameter in objectives.parameters()]
    return [value.detach(), *(leaf.grad for leaf in (vision, text, scale)), *added]  # type: ignore[list-item]


def mean_gradients() -> dict[str, Any]:
    """The gradients of each objective, averaged over the processes, which share the batch; for a ProcessPair.

    A weight matrix shared by all rows takes the place of a network: its gradients are averaged, as DistributedDataParallel does.
    """
    with join_processes("cpu") as processes:
        size = NUM_PAIRS // processes.world_size
        rows = slice(processes.rank * size, (processes.rank + 1) * size)
        context = replace(CONTEXT, processes=processes)
        return {
            name: [processes.mean(value).tolist() for value in gradients(build_objectives([ObjectiveSettings(name=name)], context), rows)]
            for name in OBJECTIVES_TO_TRY
        }
