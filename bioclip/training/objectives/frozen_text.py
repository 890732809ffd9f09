"""InfoNCE against stored features of the captions, through a trained linear layer; no text is encoded for it.

Paper: W. Huang et al., LLM2CLIP: Powerful Language Model Unlocks Richer Visual Representation, 2024, arXiv:2411.04997.

With t_i the stored features of the caption of pair i, A a layer [W, D], and v_i = A t_i / |A t_i|:

    L_i = -log( exp(s u_i.v_i) / sum_k exp(s u_i.v_k) )

averaged over images and over texts, [B, G] logits each. A starts as the identity where W = D. The model's own text tower takes no part
and is frozen by default. A finished model then encodes images only: evaluation leaves out tasks that need texts, and scorers by text
refuse it. Texts are answered through the stored features and A, which is stored with the objective. With `freeze_text_tower: false` beside
`clip` the model's own texts are trained too.

Use: instead of `clip`, to train an image tower against a large language model whose features of all captions were computed once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from bioclip.errors import SettingsError
from bioclip.plugins import read_options
from bioclip.training.contrast import Labels
from bioclip.training.objectives.contract import ObjectiveContext, Outputs
from bioclip.training.objectives.pairs import PairObjective, PairOptions
from bioclip.training.stored_features.feature_table import FeatureTable

if TYPE_CHECKING:
    from bioclip.training.data import Batch


_NO_TEXTS = (
    "its images were trained against stored features of captions (objective frozen_text), which its own text tower does not give; to train "
    "both, set freeze_text_tower to false and add the objective clip"
)


class FrozenTextOptions(PairOptions):
    """Options of `frozen_text`."""

    features_path: str
    """Parquet table of captions: `item_id` (the caption itself) and `embedding`."""
    freeze_text_tower: bool = True
    """Keep the model's own text tower as it is; `false` where another objective trains it."""


class FrozenTextObjective(PairObjective):
    """See the module."""

    def __init__(self, options: FrozenTextOptions, context: ObjectiveContext) -> None:
        super().__init__(options, context)
        self.table = FeatureTable(options.features_path)
        self.adapter = torch.nn.Linear(self.table.width, int(context.model.config["model_cfg"]["embed_dim"]), bias=False)
        if self.adapter.in_features == self.adapter.out_features:
            torch.nn.init.eye_(self.adapter.weight)
        if options.freeze_text_tower:
            self.no_texts = _NO_TEXTS
            for name, parameter in context.model.network.named_parameters():
                if not name.startswith(("visual.", "logit_")):
                    parameter.requires_grad_(False)

    def targets(self, rows: Labels, others: Labels, step: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See PairObjective."""
        del step
        return rows.is_pair_with(others).to(dtype), None

    def loss(self, outputs: Outputs, batch: Batch) -> torch.Tensor:
        """See the module; raises SettingsError for a caption that the table lacks."""
        texts_BW, is_known_B = self.table.read(batch.captions, outputs.image_features_BD)
        included_B = self.labels(batch)[0].included_N
        if lost := (included_B & ~is_known_B).nonzero()[:, 0].tolist():
            raise SettingsError(
                f"objective 'frozen_text': {self.table.path!r} lacks the caption {batch.captions[lost[0]]!r}; "
                "add its features, or choose other training.caption_types."
            )
        texts_BD = torch.nn.functional.normalize(self.adapter(texts_BW), dim=-1)
        return self.contrast(outputs.image_features_BD, texts_BD, outputs.logit_scale, batch)


def build(options: Mapping[str, Any], context: ObjectiveContext) -> FrozenTextObjective:
    """See ObjectiveBuilder."""
    return FrozenTextObjective(read_options(FrozenTextOptions, options, "objective 'frozen_text'", "training.objectives"), context)
