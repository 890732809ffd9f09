"""Distillation of the initial model over a replayed vocabulary: learning without forgetting, without old images.

Paper: Y. Ding et al., Don't Stop Learning: Towards Continual Learning for the CLIP Model (VR-LwF), 2022, arXiv:2207.09248.

At each step V texts are drawn from a vocabulary. With u_i and T the features of image i and of the texts, s the logit scale, t the
temperature, and u'_i, T' and s' those of the initial model, which stays frozen:

    p_i = softmax(s u_i.T / t),  q_i = softmax(s' u'_i.T' / t)
    L = mean_i KL(q_i || p_i) = mean_i sum_v q_iv (log q_iv - log p_iv)

over the images of the batch, [B, V] logits. It is 0 before the first step.

Use: beside `clip`, when a pretrained model continues on organisms alone and shall keep its zero-shot ability; with `replay` where old
pairs exist. It costs a forward pass of the initial image tower.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field

from bioclip.digests import digest_value
from bioclip.errors import SettingsError
from bioclip.plugins import read_options
from bioclip.settings import Settings
from bioclip.training.objectives.contract import Objective, ObjectiveContext, Outputs, at_least_float32

if TYPE_CHECKING:
    from bioclip.training.data import Batch

_MIN_CHARS = 3
_END_OF_WORD = "</w>"


class VrLwfOptions(Settings):
    """Options of `vr_lwf`."""

    vocabulary_path: str = ""
    """Text file with one text per line, e.g. names of common things; empty: the words of the tokenizer's vocabulary."""
    template: str = Field("a photo of a {}.", pattern=r".*\{\}.*")
    """Prompt; `{}` is replaced by the text."""
    num_texts: int = Field(256, gt=1)
    """Texts drawn at each step, without repetition."""
    temperature: float = Field(1.0, gt=0)
    """Divides the logits of both models."""


class VrLwfObjective(Objective):
    """See the module. `teacher` is the frozen initial network."""

    def __init__(self, options: VrLwfOptions, context: ObjectiveContext) -> None:
        super().__init__()
        self.options, self.context = options, context
        self.vocabulary = read_vocabulary(options, context)
        self.teacher = (copy.deepcopy(context.model.network).eval().requires_grad_(False),)

    def added_texts(self, batch: Batch) -> Sequence[str]:
        """The texts of this step, equal in every process."""
        seed = digest_value(["vr_lwf", self.context.settings.seed, batch.step])
        drawn = Random(int(seed[:15], 16)).sample(self.vocabulary, min(self.options.num_texts, len(self.vocabulary)))  # noqa: S311
        return [self.options.template.replace("{}", word) for word in drawn]

    def loss(self, outputs: Outputs, batch: Batch) -> torch.Tensor:
        """See the module; the mean is over this process's images."""
        logits_BV = outputs.logit_scale * outputs.image_features_BD @ outputs.added_features_ED.T / self.options.temperature
        old_BV = self._old_logits(batch) / self.options.temperature
        return torch.nn.functional.kl_div(
            logits_BV.log_softmax(dim=1), old_BV.to(logits_BV.dtype).log_softmax(dim=1), reduction="batchmean", log_target=True
        )

    @torch.no_grad()
    def _old_logits(self, batch: Batch) -> torch.Tensor:
        """[B, V] of the initial model."""
        model, [teacher] = self.context.model, self.teacher
        device = batch.images_BCHW.device
        images = model.normalise(batch.images_BCHW).to(next(teacher.parameters()).dtype)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.context.settings.precision == "bf16"):
            images_BD = teacher.encode_image(images, normalize=True)  # type: ignore[operator]
            texts_VD = teacher.encode_text(model.tokenizer(self.added_texts(batch)).to(device), normalize=True)  # type: ignore[operator]
        scale: torch.Tensor = teacher.get_parameter("logit_scale").exp()
        return scale * at_least_float32(images_BD) @ at_least_float32(texts_VD).T


def read_vocabulary(options: VrLwfOptions, context: ObjectiveContext) -> list[str]:
    """The distinct texts, sorted; raises SettingsError for fewer than two."""
    if options.vocabulary_path:
        lines = Path(options.vocabulary_path).expanduser().read_text(encoding="utf-8").splitlines()
        texts = sorted({line.strip() for line in lines} - {""})
    else:
        encoder: Mapping[str, int] = getattr(context.model.tokenizer, "encoder", {})
        words = (token.removesuffix(_END_OF_WORD) for token in encoder if token.endswith(_END_OF_WORD))
        texts = sorted({word for word in words if word.isalpha() and len(word) >= _MIN_CHARS})
    if len(texts) < 2:
        source = f"vocabulary_path {options.vocabulary_path!r}" if options.vocabulary_path else "the model's tokenizer"
        raise SettingsError(f"objective 'vr_lwf': {source} gives {len(texts)} texts; name a file with one text per line, at least two.")
    return texts


def build(options: Mapping[str, Any], context: ObjectiveContext) -> VrLwfObjective:
    """See ObjectiveBuilder."""
    return VrLwfObjective(read_options(VrLwfOptions, options, "objective 'vr_lwf'", "training.objectives"), context)
