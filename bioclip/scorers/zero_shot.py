"""Probability that an image matches one set of prompts rather than another, by any open_clip model.

Zero-shot classification with two classes, each the mean of its prompts' embeddings (Radford et al. 2021, Learning Transferable Visual
Models From Natural Language Supervision, sections 3.1.2 and 3.1.4): the score is the probability of the positive class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from bioclip import layout
from bioclip.encoding.encoder import Encoder, EncodingOptions, open_encoder
from bioclip.errors import SettingsError
from bioclip.models.reference import ModelRef
from bioclip.plugins import read_options
from bioclip.settings import ModelSettings, Settings, meaningful

_FILE_SUFFIXES = {".pt", ".pth", ".bin", ".safetensors"}


class ZeroShotOptions(Settings):
    """Options of `zero_shot`."""

    model: ModelSettings = ModelSettings()
    """Architecture and weights; `pretrained` may also name a folder with open_clip_config.json, such as a model of a workspace."""
    seed: int = 0
    """Seed of the weights of a model without `pretrained`."""
    positive: tuple[str, ...] = Field(min_length=1)
    """Prompts for a high score, e.g. `a photo of an animal`."""
    negative: tuple[str, ...] = Field(min_length=1)
    """Prompts for a low score, e.g. `a photo of an empty scene`."""
    logit_scale: float = Field(100.0, gt=0)
    """Factor on the cosines before the softmax; CLIP's own is 100."""


@dataclass(frozen=True)
class ZeroShotScorer:
    """Probability of the positive prompts, 0 to 1."""

    options: ZeroShotOptions
    batch_size: int

    @property
    def ref(self) -> ModelRef:
        """The model."""
        return ModelRef.from_settings(self.options.model, self.options.seed)

    @property
    def identity(self) -> Any:
        """The options and the model's identity."""
        return {"version": 2, **meaningful(self.options), "model": self.ref.identity().digest}

    @cached_property
    def encoder(self) -> Encoder:
        """The model ready to encode; its network is loaded once per process."""
        return open_encoder(self.ref, EncodingOptions(batch_size=self.batch_size))

    @cached_property
    def direction(self) -> npt.NDArray[np.float64]:
        """[D]: embedding of the positive class minus that of the negative; its product with an image is the difference of their logits."""
        classes = []
        for prompts in (self.options.positive, self.options.negative):
            mean = self.encoder.encode_texts(prompts).astype(np.float64).mean(axis=0)
            classes.append(mean / np.linalg.norm(mean))
        difference: npt.NDArray[np.float64] = classes[0] - classes[1]
        return difference

    def score(self, images: Sequence[tuple[str, bytes]]) -> Iterator[tuple[str, float]]:
        """See Scorer. Raises as `open_encoder` does."""
        encoded = self.encoder.encode_images(images)
        logits = self.options.logit_scale * (encoded.features.astype(np.float64) @ self.direction)
        for record_id, logit in zip(encoded.ids, logits.tolist(), strict=True):
            yield record_id, float(np.exp(-np.logaddexp(0.0, -logit)))


def build(options: Mapping[str, Any], batch_size: int) -> ZeroShotScorer:
    """See ScorerBuilder."""
    found = read_options(ZeroShotOptions, options, "scorer 'zero_shot'", "release.filters")
    _check_weights(found.model.pretrained)
    return ZeroShotScorer(found, batch_size)


def _check_weights(pretrained: str) -> None:
    """Raise SettingsError for missing local weights; a tag or hub id is recognised by having no file suffix."""
    path = Path(pretrained).expanduser()
    if pretrained and path.is_dir() and not (path / layout.MODEL_CONFIG).is_file():
        raise SettingsError(
            f"release.filters: {pretrained!r} of scorer 'zero_shot' is a folder without "
            f"{layout.MODEL_CONFIG}; name a folder of an open_clip model."
        )
    if path.suffix in _FILE_SUFFIXES and not path.is_file():
        raise SettingsError(
            f"release.filters: weights {pretrained!r} of scorer 'zero_shot' do not exist; "
            "give a file, the folder of a model, an open_clip tag or hf-hub:ORG/NAME."
        )
