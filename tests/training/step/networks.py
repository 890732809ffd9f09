"""Small networks and pairs for tests of a step."""

from __future__ import annotations

from typing import Any

import torch

from bioclip.models.clip import ClipModel, create_model
from bioclip.settings import ModelSettings

CAPTIONS = (
    "a photo of Parus major.",
    "Animalia Chordata Aves Passeriformes Paridae Cyanistes caeruleus with common name Eurasian blue tit.",
    "blue tit",
    "a photo of Parus major.",
    "a photo of Quercus robur with common name pedunculate oak.",
    "oak",
    "blue tit",
    "Plantae Tracheophyta Magnoliopsida Fagales Fagaceae Quercus robur",
)
VISION = {"image_size": 32, "patch_size": 8, "width": 64, "layers": 3, "head_width": 32}
TEXT = {"context_length": 40, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 3}

TOWERS: dict[str, dict[str, Any]] = {
    "open_clip's CLIP": {},
    "a text tower of its own": {"custom_text": True},
    "pooled at the end token": {"text": {"pool_type": "eos", "eos_id": 49407}},
    "pooled at the first token": {"text": {"pool_type": "first"}},
    "with layer scale and quick GELU": {"vision": {"ls_init_value": 0.1}, "text": {"ls_init_value": 0.1}, "quick_gelu": True},
    "images pooled by their mean": {"vision": {"pool_type": "avg"}},
    "attention to later tokens": {"text": {"no_causal_mask": True}},
    "a class token behind the text": {"text": {"embed_cls": True}, "custom_text": True},
    "pooled at the last token": {"text": {"pool_type": "last"}},
    "with a logit bias": {"init_logit_bias": -3.0},
}
"""Changes of an architecture, by what they do."""


def small_model(text: dict[str, Any] | None = None, vision: dict[str, Any] | None = None, **architecture: Any) -> ClipModel:
    """A network whose towers have these changes, in float64 and training mode."""
    whole = {"embed_dim": 32, "vision_cfg": {**VISION, **(vision or {})}, "text_cfg": {**TEXT, **(text or {})}, **architecture}
    model = create_model(ModelSettings(name="small", architecture=whole), seed=5)
    model.network.double().train()
    return model


def random_images(number: int = len(CAPTIONS)) -> torch.Tensor:
    """Normalised images [N, 3, 32, 32] in float64."""
    return torch.randn(number, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def gradients_of(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Gradients by name; those of the network are then cleared."""
    found = {name: parameter.grad.clone() for name, parameter in network.named_parameters() if parameter.grad is not None}
    network.zero_grad()
    return found
