"""The pooled features of an image tower before its projection, for a second projection beside the tower's own.

W  width of the tower    D  width of the embeddings    N  images
"""

from __future__ import annotations

from typing import Any

import torch

from bioclip.errors import ModelError


class PooledFeatures:
    """The pooled features [N, W] of the last forward pass of a network's image tower."""

    def __init__(self, network: torch.nn.Module) -> None:
        self._last: torch.Tensor | None = None
        visual = network.get_submodule("visual")
        self.projection = _projection_of(visual)
        """The tower's own projection [W, D], a copy."""
        if hasattr(visual, "ln_post"):
            self._pool_type = str(visual.pool_type)
            visual.get_submodule("ln_post").register_forward_hook(self._keep_tokens)
        else:
            visual.get_submodule("head.proj").register_forward_pre_hook(self._keep_input)

    def take(self) -> torch.Tensor | None:
        """The features [N, W], once; None without a forward pass since the last call."""
        found, self._last = self._last, None
        return found

    def _keep_tokens(self, module: torch.nn.Module, given: Any, tokens: torch.Tensor) -> None:
        """Pool as open_clip's VisionTransformer does after its last norm; a norm after pooling gives [N, W] itself."""
        del module, given
        if tokens.ndim == 3:
            tokens = tokens[:, 0] if self._pool_type == "tok" else tokens[:, 1:].mean(dim=1)
        self._last = tokens

    def _keep_input(self, module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        del module
        self._last = given[0]


def _projection_of(visual: torch.nn.Module) -> torch.Tensor:
    projection = getattr(visual, "proj", None)
    if hasattr(visual, "ln_post") and isinstance(projection, torch.Tensor) and getattr(visual, "attn_pool", None) is None:
        return projection.detach().clone()
    try:
        return visual.get_submodule("head.proj").get_parameter("weight").detach().T.clone()
    except AttributeError:
        raise ModelError(
            f"the image tower {type(visual).__name__} has no linear projection of pooled features; choose a ViT of open_clip or a tower of "
            "timm, or options that need no second projection."
        ) from None
