"""Image towers of timm, without text: the pooled features before the classifier."""

from __future__ import annotations

from typing import Any

import torch

from bioclip.models.reference import ModelRef


class ImageTower(torch.nn.Module):
    """A timm network behind open_clip's `encode_image`."""

    def __init__(self, trunk: torch.nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def encode_image(self, images: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        """Features [B, D] of normalised images [B, 3, H, W], of unit length where `normalize` is set."""
        features: torch.Tensor = self.trunk(images)
        return torch.nn.functional.normalize(features, dim=-1) if normalize else features


def make_image_tower(ref: ModelRef) -> tuple[ImageTower, dict[str, Any]]:
    """(network, configuration in the form of open_clip's) of a timm name; raises RuntimeError for a name that timm does not know.

    Weights are those of `ref.path`, or timm's own of that name, which need a download. The crop percentage of timm's evaluation is not
    applied: the shorter side is resized to the input size.
    """
    import timm
    from timm.data.config import resolve_model_data_config

    trunk = timm.create_model(ref.name, pretrained=not ref.path, num_classes=0, checkpoint_path=ref.path or None)
    data: dict[str, Any] = resolve_model_data_config(trunk)
    preprocess = {
        "size": list(data["input_size"][1:]),
        "mode": "RGB",
        "mean": list(data["mean"]),
        "std": list(data["std"]),
        "interpolation": "bilinear" if data["interpolation"] == "bilinear" else "bicubic",
        "resize_mode": ref.resize_mode or "shortest",
        "fill_color": 0,
    }
    return ImageTower(trunk), {"model_cfg": {"embed_dim": trunk.num_features, "timm_name": ref.name}, "preprocess_cfg": preprocess}
