"""Floating-point operations of a training step, to state the share of a device's peak that is used (MFU).

Counted are the products of matrices that the step needs: forward, and twice that backward. Activations that are computed again count
once, texts count with the tokens that are encoded, and the last block of a tower with the one token that passes it. Transformers of
open_clip are counted by formula, other towers once by torch's own counter. A multiplication and an addition are two operations.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from bioclip.models.towers import encode_images, encode_tokens, pools_one_token, text_pooling, text_tower

PEAK_TFLOPS: dict[str, float] = {
    "B200": 2250, "H200": 989, "GH200": 989, "H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "A100": 312, "A800": 312, "H800": 989,
    "L40S": 362, "L40": 181, "L4": 121, "A10G": 70, "A10": 125, "A40": 150, "A30": 165, "V100": 125, "T4": 65,
    "RTX PRO 6000": 504, "RTX 5090": 210, "RTX 4090": 165, "RTX 3090": 71, "RTX A6000": 155, "RTX 6000 Ada": 364, "MI300X": 1307,
}  # fmt: skip
"""Part of a device's name -> dense TFLOP/s in bf16 (fp16 where bf16 is missing), from the makers' data sheets."""
_TF32_SHARE = 0.5


def peak_flops(device_name: str, precision: str) -> float | None:
    """Peak operations per second of a device; None for one that is not in PEAK_TFLOPS, as every CPU, and for fp32 without TF32."""
    known = [name for name in PEAK_TFLOPS if name in device_name]
    if not known or precision == "fp32":
        return None
    return PEAK_TFLOPS[max(known, key=len)] * 1e12 * (1 if precision == "bf16" else _TF32_SHARE)


@dataclass(frozen=True)
class Transformer:
    """Sizes of a plain transformer. `mlp_width` is the inner width of the MLP, `out_width` that of the projection behind it, 0 for none."""

    width: int
    num_blocks: int
    mlp_width: int
    out_width: int

    def forward_flops(self, num_tokens: int) -> int:
        """Operations of one text or image of `num_tokens` tokens, of which the last block passes one."""
        width, mlp = self.width, 2 * 2 * self.width * self.mlp_width
        keys_values, query_out = 2 * 2 * width**2, 2 * 2 * width**2
        block = num_tokens * (keys_values + query_out + mlp) + 2 * 2 * num_tokens**2 * width
        last = num_tokens * keys_values + query_out + mlp + 2 * 2 * num_tokens * width
        return (self.num_blocks - 1) * block + last + 2 * width * self.out_width


@dataclass(frozen=True)
class PairFlops:
    """Operations of forward and backward pass: `per_image`, and those of a text by its tokens."""

    per_image: int
    text: Transformer | None
    per_full_text: int

    def of_text(self, num_tokens: int) -> int:
        """Operations of a text that is encoded with `num_tokens` tokens."""
        return self.per_full_text if self.text is None else 3 * self.text.forward_flops(num_tokens)

    def of_step(self, num_images: int, token_groups: Iterable[torch.Tensor]) -> int:
        """Operations of a step over so many images and these groups of texts [N, T]."""
        return num_images * self.per_image + sum(len(tokens) * self.of_text(tokens.shape[1]) for tokens in token_groups)


def count_pair_flops(network: torch.nn.Module, image_px: int, context_length: int) -> PairFlops:
    """The operations of a network whose images have `image_px` pixels a side and whose texts at most `context_length` tokens."""
    text, tower = None, text_tower(network)
    if text_pooling(network) is not None:
        text = _sizes(tower.transformer, _width_of(tower.text_projection))
    visual: Any = network.visual
    if pools_one_token(visual):
        grid = (image_px // visual.patch_size[0]) * (image_px // visual.patch_size[1])
        patches = 2 * grid * visual.conv1.weight.numel()
        per_image = 2 * patches + 3 * _sizes(visual.transformer, _width_of(visual.proj)).forward_flops(grid + 1)
    else:
        per_image = _count(network, images=torch.zeros(1, 3, image_px, image_px, device="meta"))
    per_text = 0 if text is not None else _count(network, tokens=torch.zeros(1, context_length, dtype=torch.int64, device="meta"))
    return PairFlops(per_image, text, per_text)


def _sizes(transformer: Any, out_width: int) -> Transformer:
    blocks = transformer.resblocks
    return Transformer(transformer.width, len(blocks), blocks[0].mlp.c_fc.out_features, out_width)


def _width_of(projection: Any) -> int:
    if projection is None:
        return 0
    return int(projection.out_features if isinstance(projection, torch.nn.Linear) else projection.shape[1])


def _count(network: torch.nn.Module, images: torch.Tensor | None = None, tokens: torch.Tensor | None = None) -> int:
    """Operations of forward and backward pass of one tower, by torch's counter, without computing anything."""
    hollow = copy.deepcopy(network).to("meta").train()
    with FlopCounterMode(display=False) as counter:
        features = encode_images(hollow, images) if images is not None else encode_tokens(hollow, tokens)  # type: ignore[arg-type]
        features.sum().backward()  # type: ignore[no-untyped-call]
    return int(counter.get_total_flops())
