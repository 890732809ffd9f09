"""InfoNCE among images: those of one taxon, or two crops of one image, belong together.

Papers: P. Khosla et al., Supervised Contrastive Learning, NeurIPS 2020, arXiv:2004.11362 (`taxon`); N. Mu et al., SLIP: Self-supervision
meets Language-Image Pre-training, ECCV 2022, arXiv:2112.12750 (`crop`).

With t the temperature, u_i unit features, and P(i) the other images of the taxon of image i:

    taxon   L_i = -1/|P(i)| sum_{j in P(i)} log( exp(u_i.u_j / t) / sum_{k != i} exp(u_i.u_k / t) )
    crop    L_i = -log( exp(u_i.w_i / t) / sum_k exp(u_i.w_k / t) ), and with u and w in each other's place

with w_i the features of a second crop of image i. The mean is over the images whose taxon occurs again, or over all; [B, G] logits.

Use: beside `clip`, for nearest neighbours and few-shot use. `crop` encodes every image twice; its second crop is cut from the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field

from bioclip.digests import digest_value
from bioclip.errors import SettingsError
from bioclip.plugins import read_options
from bioclip.training.contrast import Labels, cross_entropies, keep_collective, sum_blocks, total_of
from bioclip.training.data.augmentation import NUM_CROP_DRAWS, random_crop
from bioclip.training.objectives.contract import ObjectiveContext, Outputs, at_least_float32
from bioclip.training.objectives.pairs import PairObjective, PairOptions

if TYPE_CHECKING:
    from bioclip.training.data import Batch


class IntraModalOptions(PairOptions):
    """Options of `intra_modal`."""

    positives: Literal["taxon", "crop"] = "taxon"
    """Images that belong together: those of one accepted taxon, or two crops of one image."""
    temperature: float = Field(0.1, gt=0)
    """Divides the cosines."""
    min_crop_area: float = Field(0.3, gt=0, le=1)
    """Least area of the second crop, as a share of the first."""


class IntraModalObjective(PairObjective):
    """See the module."""

    def __init__(self, options: IntraModalOptions, context: ObjectiveContext) -> None:
        super().__init__(options, context)
        self.options, self.context = options, context

    def targets(self, rows: Labels, others: Labels, step: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Those of two crops: see PairObjective."""
        del step
        return rows.is_pair_with(others).to(dtype), None

    def loss(self, outputs: Outputs, batch: Batch) -> torch.Tensor:
        """See the module."""
        images_BD = outputs.image_features_BD
        if self.options.positives == "crop":
            scale = images_BD.new_tensor(1 / self.options.temperature)
            return self.contrast(images_BD, self._encode_second_crops(batch, images_BD), scale, batch)
        mine, everyone = self.labels(batch)
        images_GD = self.processes.gather(images_BD)
        counts_N = (self._positives(mine, everyone).sum(dim=1) > 0) & mine.included_N

        def block(rows: slice) -> torch.Tensor:
            positive_NC = self._positives(mine[rows], everyone)
            targets_NC = positive_NC / positive_NC.sum(dim=1, keepdim=True, dtype=images_BD.dtype).clamp(min=1)
            others_NC = ~mine[rows].is_pair_with(everyone) & everyone.included_N
            losses_N = cross_entropies(images_BD[rows] @ images_GD.T / self.options.temperature, targets_NC, others_NC)
            return losses_N.masked_fill(~counts_N[rows], 0).sum()

        total = self.processes.world_size * sum_blocks(len(mine), len(everyone), block)
        return keep_collective(total / total_of(self.processes, counts_N).clamp(min=1), images_GD)

    def _positives(self, rows: Labels, others: Labels) -> torch.Tensor:
        """[N, C], True for another included image of the taxon."""
        return rows.is_same_as(others, by_caption=False) & ~rows.is_pair_with(others) & others.included_N

    def _encode_second_crops(self, batch: Batch, like: torch.Tensor) -> torch.Tensor:
        """Features [B, D]; raises SettingsError where the first crops were encoded in chunks."""
        if torch.is_grad_enabled() and (like.is_leaf or not like.requires_grad):
            raise SettingsError(
                "objective 'intra_modal' with positives: crop needs a forward pass of the whole batch; set positives to taxon, or "
                "training.micro_batch_size to 0."
            )
        model, settings = self.context.model, self.context.settings
        crops = second_crops(batch.images_BCHW, batch.keys, settings.seed, batch.step, self.options.min_crop_area)
        images = model.normalise(crops).to(next(model.network.parameters()).dtype)
        with torch.autocast(crops.device.type, dtype=torch.bfloat16, enabled=settings.precision == "bf16"):
            features: torch.Tensor = model.network.encode_image(images, normalize=True)  # type: ignore[operator]
        return at_least_float32(features)


def second_crops(images_BCHW: torch.Tensor, keys: Sequence[str], seed: int, step: int, min_area: float) -> torch.Tensor:
    """uint8 [B, C, H, W]: a random crop of each image, mirrored half of the time; a function of key, seed and step alone."""
    size, crops = images_BCHW.shape[-2:], []
    for image_CHW, key in zip(images_BCHW, keys, strict=True):
        random = Random(int(digest_value(["second crop", seed, step, key])[:15], 16))  # noqa: S311 - not a secret
        left, upper, right, lower = random_crop(size[1], size[0], min_area, [random.random() for _ in range(NUM_CROP_DRAWS)])
        crop = image_CHW[None, :, upper:lower, left:right].float()
        crop = torch.nn.functional.interpolate(crop, size=size, mode="bilinear", antialias=True)
        crops.append(crop.flip(-1) if random.random() < 0.5 else crop)
    return torch.cat(crops).round().clamp(0, 255).to(torch.uint8)


def build(options: Mapping[str, Any], context: ObjectiveContext) -> IntraModalObjective:
    """See ObjectiveBuilder."""
    return IntraModalObjective(read_options(IntraModalOptions, options, "objective 'intra_modal'", "training.objectives"), context)
