"""Distillation of a teacher's similarities, whose features are stored and not computed.

Paper: P. K. A. Vasu et al., MobileCLIP: Fast Image-Text Models through Multi-Modal Reinforced Training, CVPR 2024, arXiv:2311.17049.

With u_i, v_j and s the student's features and logit scale, and u'_i, v'_j and s' the teacher's:

    p_i = softmax_j(s u_i.v_j),  q_i = softmax_j(s' u'_i.v'_j)
    L = 1/2 [ mean_i KL(q_i || p_i) + the same for texts ]

with [B, G] logits of each. The gradient is that of open_clip's DistillClipLoss, whose cross-entropy is larger by the teacher's entropy.

The folder `teacher_dir` holds `crop-00.parquet` to `crop-<K-1>.parquet` with `item_id` (the record id) and `embedding`, one for each of the
`training.num_crops` = K crops that every image is shown in, and `captions.parquet`, whose `item_id` is the caption.
`treeoflife models features` writes it from any model, with the settings of the run that reads it.

Use: for small models, with weight w beside `clip` with weight 1 - w (the paper: 1 and 0, or 0.75 and 0.25).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field

from bioclip import layout
from bioclip.errors import SettingsError
from bioclip.plugins import read_options
from bioclip.training.contrast import keep_collective, sum_blocks
from bioclip.training.objectives.contract import ObjectiveContext, Outputs
from bioclip.training.objectives.pairs import PairObjective, PairOptions
from bioclip.training.stored_features.feature_table import FeatureTable

if TYPE_CHECKING:
    from bioclip.training.data import Batch


class DistillationOptions(PairOptions):
    """Options of `distillation`."""

    teacher_dir: str
    """Folder with the teacher's features."""
    teacher_scale: float | None = Field(None, gt=0)
    """The teacher's logit scale; none: the one stored with the captions."""
    skip_missing: bool = False
    """Leave out pairs whose image or caption has no stored features; otherwise they end the run."""


class DistillationObjective(PairObjective):
    """See the module."""

    def __init__(self, options: DistillationOptions, context: ObjectiveContext) -> None:
        super().__init__(options, context)
        self.options, folder = options, Path(options.teacher_dir).expanduser()
        self.num_crops = len(list(folder.glob(layout.teacher_crop("*"))))
        if self.num_crops == 0 or self.num_crops != context.settings.num_crops:
            raise SettingsError(
                f"objective 'distillation': {options.teacher_dir!r} has features of {self.num_crops} crops of each image, and "
                f"training.num_crops is {context.settings.num_crops}; set both to the same number above 0."
            )
        self.captions = FeatureTable(str(folder / layout.TEACHER_CAPTIONS))
        self.crop = lru_cache(maxsize=2)(lambda number: FeatureTable(str(folder / layout.teacher_crop(f"{number:02d}"))))
        stored = self.captions.facts.get("logit_scale")
        if options.teacher_scale is None and stored is None:
            raise SettingsError(f"objective 'distillation': {self.captions.path!r} states no logit_scale; set the option teacher_scale.")
        self.teacher_scale = options.teacher_scale or float(stored or 0)

    def loss(self, outputs: Outputs, batch: Batch) -> torch.Tensor:
        """See the module; the mean is over the pairs of all processes that have features. Raises SettingsError for missing ones."""
        images_BD, texts_BD = outputs.image_features_BD, outputs.text_features_BD
        old_images_BD, old_texts_BD, is_known_B = self.teacher_features(batch, images_BD)
        mine, everyone = self.labels(batch)
        counted_B = mine.included_N & is_known_B
        counted_G = self.processes.gather(counted_B.long()).bool()
        images_GD, texts_GD = self.processes.gather(images_BD), self.processes.gather(texts_BD)
        old_images_GD, old_texts_GD = self.processes.gather(old_images_BD), self.processes.gather(old_texts_BD)
        sides = (images_BD, texts_GD, old_images_BD, old_texts_GD), (texts_BD, images_GD, old_texts_BD, old_images_GD)
        total = images_BD.new_zeros(())
        for new_BD, new_GD, old_BD, old_GD in sides:

            def block(
                rows: slice,
                new_BD: torch.Tensor = new_BD,
                new_GD: torch.Tensor = new_GD,
                old_BD: torch.Tensor = old_BD,
                old_GD: torch.Tensor = old_GD,
            ) -> torch.Tensor:
                new_NG = (outputs.logit_scale * new_BD[rows] @ new_GD.T)[:, counted_G].log_softmax(dim=1)
                old_NG = (self.teacher_scale * old_BD[rows] @ old_GD.T)[:, counted_G].log_softmax(dim=1)
                losses_N = (old_NG.exp() * (old_NG - new_NG)).sum(dim=1)
                return losses_N.masked_fill(~counted_B[rows], 0).sum()

            total = total + sum_blocks(len(mine), len(everyone), block)
        mean = self.processes.world_size * total / (2 * counted_G.sum()).clamp(min=1)
        return keep_collective(mean, images_GD, texts_GD)

    def teacher_features(self, batch: Batch, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The teacher's features of the B images and texts, and [B], True where both are stored."""
        crops = (batch.epoch_B % self.num_crops).tolist()
        texts_BD, has_text_B = self.captions.read(batch.captions, like)
        images_BD, has_image_B = torch.zeros_like(texts_BD), torch.zeros_like(has_text_B)
        for crop in sorted(set(crops)):
            rows = [row for row, one in enumerate(crops) if one == crop]
            images_BD[rows], has_image_B[rows] = self.crop(crop).read([batch.keys[row] for row in rows], like)
        is_known_B = has_text_B & has_image_B
        wanted = zip(batch.stream_B.tolist(), is_known_B.tolist(), strict=True)
        lost = [row for row, (stream, known) in enumerate(wanted) if not known and (not self.streams or stream in self.streams)]
        if lost and not self.options.skip_missing:
            raise SettingsError(
                f"objective 'distillation': {self.options.teacher_dir!r} lacks features of sample {batch.keys[lost[0]]!r} or of its "
                f"caption {batch.captions[lost[0]]!r}; write the folder again with these settings, or set the option skip_missing."
            )
        return images_BD, texts_BD, is_known_B


def build(options: Mapping[str, Any], context: ObjectiveContext) -> DistillationObjective:
    """See ObjectiveBuilder."""
    return DistillationObjective(read_options(DistillationOptions, options, "objective 'distillation'", "training.objectives"), context)
