"""A model that trains in milliseconds."""

from __future__ import annotations

from bioclip.settings import ModelSettings

TINY_MODEL = ModelSettings(
    name="tiny",
    architecture={
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "layers": 1, "head_width": 32},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    },
)
