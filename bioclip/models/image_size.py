"""A model at another image size: the grid of position embeddings is resampled, all other weights are the same.

Bicubic with antialiasing, as timm and open_clip resample them (Dosovitskiy et al. 2021, section 3.2).
"""

from __future__ import annotations

import copy
from typing import Any

import torch

from bioclip.errors import ModelError

_POSITIONS = "visual.positional_embedding"


def config_at(config: dict[str, Any], image_px: int) -> dict[str, Any]:
    """The configuration of an open_clip model with images of `image_px`; raises ModelError for a size that is not a
    multiple of the patches and for timm towers, whose size open_clip does not set."""
    changed = copy.deepcopy(config)
    vision = changed["model_cfg"]["vision_cfg"]
    if name := vision.get("timm_model_name"):
        raise ModelError(f"training.model.image_size: the size of the timm tower {name!r} is part of its name; leave image_size at 0.")
    patch_px = vision.get("patch_size") or 1
    if image_px % patch_px:
        raise ModelError(f"training.model.image_size = {image_px} is not a multiple of the model's patches of {patch_px} pixels.")
    vision["image_size"] = image_px
    changed["preprocess_cfg"]["size"] = [image_px, image_px]
    return changed


def resampled_state(state: dict[str, torch.Tensor], network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """`state` with position embeddings that fit `network`; raises ModelError for another difference of shapes."""
    wanted = {name: value.shape for name, value in network.state_dict().items()}
    result = dict(state)
    for name, value in state.items():
        if name in wanted and value.shape != wanted[name]:
            if name != _POSITIONS:
                raise ModelError(f"training.model.image_size: weight {name!r} depends on the image size and cannot be resampled.")
            result[name] = resample_positions(value, wanted[name])
    return result


def resample_positions(embedding: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Position embeddings [(1,) T + G*G, D] as [(1,) T + H*H, D], for T class tokens, of which there are 0 or 1; square grids."""
    tokens = embedding.reshape(-1, embedding.shape[-1]).float()
    new = shape.numel() // shape[-1]
    num_class_tokens = 1 if _is_square(len(tokens) - 1) and _is_square(new - 1) else 0
    old_side, new_side = (round((count - num_class_tokens) ** 0.5) for count in (len(tokens), new))
    if old_side**2 + num_class_tokens != len(tokens) or new_side**2 + num_class_tokens != new:
        raise ModelError("training.model.image_size: the position embeddings are no square grid and cannot be resampled.")
    grid = tokens[num_class_tokens:].reshape(1, old_side, old_side, -1).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(grid, size=(new_side, new_side), mode="bicubic", antialias=True, align_corners=False)
    resampled = grid.permute(0, 2, 3, 1).reshape(new_side**2, -1)
    return torch.cat([tokens[:num_class_tokens], resampled]).to(embedding.dtype).reshape(shape)


def _is_square(number: int) -> bool:
    return number > 0 and round(number**0.5) ** 2 == number
