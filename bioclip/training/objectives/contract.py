"""The interface of a training objective: its context, its input at each step, and its methods.

The last letters of a tensor's name are its shape:
B  pairs of this process in one batch       E  texts that an objective adds        D  width of the embeddings
U  distinct captions of those pairs         X  B + E                               L  tokens of a text
H, W  height and width in pixels            C  3 colour channels
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from bioclip.models.towers import encode_images, encode_tokens
from bioclip.training.step.texts import StepTexts

if TYPE_CHECKING:
    from bioclip.models.clip import ClipModel
    from bioclip.settings import TrainingSettings
    from bioclip.training.data import Batch
    from bioclip.training.data.lineage_matrix import LineageMatrix
    from bioclip.training.processes import Processes


@dataclass(frozen=True)
class ObjectiveContext:
    """Input of an objective's constructor besides its options.

    `model` has its initial weights, even if the run is then resumed, so a copy of it is the same teacher in every run.
    `lineages` has the lineages that `Batch.taxon_B` indexes. `processes` gathers rows of all processes.
    """

    model: ClipModel
    lineages: LineageMatrix
    processes: Processes
    settings: TrainingSettings


@dataclass(frozen=True)
class Outputs:
    """Output of the model for a batch. Features are of unit length and at least float32.

    `logit_scale` is the learnt factor itself, not its logarithm; `logit_bias` is None for a model without one.
    `added_features_ED` are the features of the texts that this objective added, in their order.
    """

    image_features_BD: torch.Tensor
    text_features_BD: torch.Tensor
    logit_scale: torch.Tensor
    logit_bias: torch.Tensor | None
    added_features_ED: torch.Tensor


class Objective(torch.nn.Module):
    """A scalar to minimise. Most objectives define `loss` and nothing else.

    Parameters and modules that are set as attributes are trained by the optimizer, averaged over the processes and kept in checkpoints.
    To exclude a frozen module, such as a teacher, store it in a tuple.

    The mean over the processes of an objective's gradients must be the gradient of one process with the whole batch.
    """

    takes_over_step: ClassVar[bool] = False
    """True for an objective that defines `run_step`. At most one of a run's objectives may."""

    no_texts: str = ""
    """Why a model of this objective encodes images only; '' if its text tower is trained or was before."""

    def added_texts(self, batch: Batch) -> Sequence[str]:
        """Texts to encode after the captions of the batch; `batch` has this process's pairs, so the texts may differ between processes."""
        del batch
        return ()

    def loss(self, outputs: Outputs, batch: Batch) -> torch.Tensor:
        """The scalar to minimise; zero for an objective that only takes over the step."""
        raise NotImplementedError(f"{type(self).__name__} defines no loss")

    def run_step(self, step: Step) -> torch.Tensor:
        """Leave in every parameter's `grad` the gradient of the sum of all objectives; return that sum, detached.

        Called instead of the forward and backward pass of the whole network. Gradients are averaged over the processes afterwards.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define run_step")


ObjectiveBuilder = Callable[[Mapping[str, Any], ObjectiveContext], Objective]
"""(options, context) -> objective. Raises SettingsError for unknown options."""


@dataclass(frozen=True)
class Step:
    """Data of one step, for an objective that takes it over.

    `images_BCHW` are normalised. `texts` are the B captions, then the E added texts, each distinct one once. `network` is open_clip's own;
    `total` is the weighted sum of all objectives over (image features, text features, logit scale, logit bias). `seed` is that of torch's
    generator at the start of the step, to draw the same numbers in a second forward pass.
    """

    number: int
    seed: int
    batch: Batch
    images_BCHW: torch.Tensor
    texts: StepTexts
    network: torch.nn.Module
    total: Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]
    autocast: Callable[[], AbstractContextManager[Any]]

    def tokens(self) -> torch.Tensor:
        """Tokens [X, L] of all texts, repeated ones included, up to the longest of them."""
        return self.texts.tokens()

    def encode_images(self, images: torch.Tensor) -> torch.Tensor:
        """Features [N, D] of unit length of normalised images [N, C, H, W], in the run's precision."""
        with self.autocast():
            return at_least_float32(encode_images(self.network, images))

    def encode_texts(self, tokens: torch.Tensor) -> torch.Tensor:
        """Features [N, D] of unit length of tokens [N, L], in the run's precision."""
        with self.autocast():
            return at_least_float32(encode_tokens(self.network, tokens))

    def loss(self, image_features_BD: torch.Tensor, text_features_XD: torch.Tensor) -> torch.Tensor:
        """The weighted sum of all objectives for these features and the network's logit scale and bias."""
        logit_scale: torch.Tensor = self.network.logit_scale.exp()  # type: ignore[operator]
        return self.total(image_features_BD, text_features_XD, logit_scale, getattr(self.network, "logit_bias", None))


def at_least_float32(features: torch.Tensor) -> torch.Tensor:
    """`features` in float32 if they are in half precision, else unchanged."""
    return features.float() if features.dtype in (torch.bfloat16, torch.float16) else features
