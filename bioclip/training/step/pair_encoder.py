"""The network as training calls it: features of images and of groups of texts in one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from bioclip.models.towers import image_encoder, token_encoder

Features = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]


class PairEncoder(torch.nn.Module):
    """An open_clip network, encoding each distinct text once.

    Processes and shards are set up around this module, so every parameter is used below its `forward`. `recompute_every` is described in
    `towers.py`. With `compiler`, a backend of torch.compile, both towers are compiled; the number of texts is then a dynamic size.
    """

    def __init__(self, network: torch.nn.Module, recompute_every: int = 0, compiler: str = "") -> None:
        super().__init__()
        self.network, self.recompute_every, self.compiler = network, recompute_every, compiler
        compiled: Callable[[Any], Any] = torch.compile(backend=compiler, dynamic=False) if compiler else lambda function: function
        self._encode_images, self._encode_tokens = compiled(image_encoder(network)), compiled(token_encoder(network))

    def forward(self, images_BCHW: torch.Tensor, token_groups: Sequence[torch.Tensor]) -> Features:
        """Image features [B, D], features [R, D] of the texts of all groups in their order, logit scale, and logit bias if there is one.

        `images_BCHW` are normalised; features have unit length.
        """
        images_BD = self._encode_images(images_BCHW, self.recompute_every)
        if self.compiler:
            for tokens in token_groups:
                torch._dynamo.maybe_mark_dynamic(tokens, 0)
        parts = [self._encode_tokens(tokens, self.recompute_every) for tokens in token_groups]
        rows_RD = parts[0] if len(parts) == 1 else torch.cat(parts) if parts else images_BD[:0]
        bias: torch.Tensor | None = getattr(self.network, "logit_bias", None)
        scale: torch.Tensor = self.network.logit_scale.exp()  # type: ignore[operator]
        return images_BD, rows_RD, scale, None if bias is None else bias.clone()
