"""The image and the text tower of an open_clip network, without work that cannot change their features.

Two things are left out where that is exact. Tokens behind the pooled one are not encoded if no earlier token attends to them. In the last
block of a transformer only the token that is pooled asks, attends and passes the MLP: the outputs of all others would be discarded.
Every other architecture runs open_clip's own code. Training and evaluation both encode with these functions.

The last letters of a tensor's name are its shape:
N  images or texts      T  tokens of an image or a text      W  width of a transformer      D  width of the embeddings
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from bioclip.models.clip import import_open_clip


@dataclass(frozen=True)
class TextPooling:
    """Which token of a text its feature is read from, for a text tower whose tokens attend to no later one.

    `kind` is open_clip's pooling: `argmax` (the greatest id), `eos` (the first `eos_id`) or `first`.
    """

    kind: str
    eos_id: int

    def position(self, tokens_NT: torch.Tensor) -> torch.Tensor:
        """Index [N] of the pooled token; no token behind it can change the feature."""
        if self.kind == "first":
            return torch.zeros(len(tokens_NT), dtype=torch.int64, device=tokens_NT.device)
        return tokens_NT.argmax(dim=-1) if self.kind == "argmax" else (tokens_NT == self.eos_id).int().argmax(dim=-1)


def text_pooling(network: torch.nn.Module) -> TextPooling | None:
    """The pooling of a causal text tower of open_clip's own; None for all others, whose texts are encoded at full length."""
    open_clip, tower = import_open_clip(), text_tower(network)
    if type(network) is open_clip.model.CLIP:
        kind, eos_id = tower.text_pool_type, tower.text_eos_id
    elif type(tower) is open_clip.transformer.TextTransformer and tower.cls_emb is None and not tower.use_pad_mask:
        kind, eos_id = tower.pool_type, tower.eos_id
    else:
        return None
    is_causal = tower.attn_mask is not None and len(tower.attn_mask) == len(tower.positional_embedding)
    return TextPooling(kind, eos_id) if is_causal and kind in {"argmax", "eos", "first"} and _is_plain(tower.transformer) else None


def pools_one_token(visual: Any) -> bool:
    """True for an open_clip vision transformer whose feature is that of its class token."""
    transformer = import_open_clip().transformer
    return type(visual) is transformer.VisionTransformer and visual.attn_pool is None and visual.pool_type == "tok" and _is_plain(
        visual.transformer
    )  # fmt: skip


def plain_blocks(network: Any) -> list[torch.nn.Module]:
    """All blocks but the last of each tower that is encoded block by block here."""
    transformers = [network.visual.transformer] if pools_one_token(network.visual) else []
    transformers += [text_tower(network).transformer] if text_pooling(network) is not None else []
    return [block for transformer in transformers for block in transformer.resblocks[:-1]]


def text_tower(network: torch.nn.Module) -> Any:
    """The module with the text tower's parts: the network itself in open_clip's CLIP."""
    return getattr(network, "text", network)


def _image_tower(network: torch.nn.Module) -> torch.nn.Module | None:
    return getattr(network, "visual", None)  # a tower of timm alone has no such part


def _is_plain(transformer: Any) -> bool:
    block = import_open_clip().transformer.ResidualAttentionBlock
    return transformer.batch_first and all(type(one) is block and not hasattr(one, "ln_1_kv") for one in transformer.resblocks)


def encode_images(network: torch.nn.Module, images: torch.Tensor, recompute_every: int = 0) -> torch.Tensor:
    """Features [N, D] of unit length of normalised images [N, 3, H, W].

    With `recompute_every` = k, the activations of every k-th block are computed again in the backward pass; 0 keeps all.
    """
    return _encode_images(network, pools_one_token(_image_tower(network)), images, recompute_every)


def image_encoder(network: torch.nn.Module) -> Callable[[torch.Tensor, int], torch.Tensor]:
    """`encode_images` of one network, which decides beforehand how; torch can compile it."""
    return partial(_encode_images, network, pools_one_token(_image_tower(network)))


def _encode_images(network: torch.nn.Module, pools_one: bool, images: torch.Tensor, recompute_every: int) -> torch.Tensor:
    if not pools_one:
        encoded: torch.Tensor = network.encode_image(images, normalize=True)  # type: ignore[operator]
        return encoded
    visual: Any = network.visual
    x_NTW = _run_blocks(visual.transformer.resblocks[:-1], visual._embeds(images), None, recompute_every)
    pooled_NW = _run_last_block(visual.transformer.resblocks[-1], x_NTW, x_NTW.new_zeros(len(x_NTW), dtype=torch.int64), None)
    features_ND = visual.ln_post(pooled_NW)
    if visual.proj is not None:
        features_ND = features_ND @ visual.proj
    return torch.nn.functional.normalize(features_ND, dim=-1)


def encode_tokens(network: torch.nn.Module, tokens_NT: torch.Tensor, recompute_every: int = 0) -> torch.Tensor:
    """Features [N, D] of unit length of texts. A causal tower takes any number T of tokens up to its context. See `encode_images`."""
    return _encode_tokens(network, text_pooling(network), tokens_NT, recompute_every)


def token_encoder(network: torch.nn.Module) -> Callable[[torch.Tensor, int], torch.Tensor]:
    """`encode_tokens` of one network, which decides beforehand how; torch can compile it."""
    return partial(_encode_tokens, network, text_pooling(network))


def encode_texts(network: torch.nn.Module, tokens_NT: torch.Tensor, batch_size: int) -> torch.Tensor:
    """`encode_tokens` of any number of texts without gradients, sorted by length, in batches that are cut to their longest text."""
    pooling = text_pooling(network)
    needed_N = torch.full((len(tokens_NT),), tokens_NT.shape[1]) if pooling is None else pooling.position(tokens_NT).cpu() + 1
    order_N = torch.argsort(needed_N, stable=True)
    with torch.no_grad():
        parts = [encode_tokens(network, tokens_NT[rows, : int(needed_N[rows[-1]])]) for rows in torch.split(order_N, batch_size)]
    return torch.cat(parts)[torch.argsort(order_N)]


def _encode_tokens(network: torch.nn.Module, pooling: TextPooling | None, tokens_NT: torch.Tensor, recompute_every: int) -> torch.Tensor:
    if pooling is None:
        encoded: torch.Tensor = network.encode_text(tokens_NT, normalize=True)  # type: ignore[operator]
        return encoded
    tower, length = text_tower(network), tokens_NT.shape[1]
    dtype, mask_TT = tower.transformer.get_cast_dtype(), tower.attn_mask[:length, :length]
    x_NTW = tower.token_embedding(tokens_NT).to(dtype) + tower.positional_embedding[:length].to(dtype)
    x_NTW = _run_blocks(tower.transformer.resblocks[:-1], x_NTW, mask_TT, recompute_every)
    pooled_NW = _run_last_block(tower.transformer.resblocks[-1], x_NTW, pooling.position(tokens_NT), mask_TT)
    features_ND = tower.ln_final(pooled_NW)
    projection = tower.text_projection
    if projection is not None:
        features_ND = projection(features_ND) if isinstance(projection, torch.nn.Linear) else features_ND @ projection
    return torch.nn.functional.normalize(features_ND, dim=-1)


def _run_blocks(blocks: Iterable[torch.nn.Module], x_NTW: torch.Tensor, mask_TT: torch.Tensor | None, recompute_every: int) -> torch.Tensor:
    for number, block in enumerate(blocks):
        if recompute_every and number % recompute_every == 0 and torch.is_grad_enabled():
            x_NTW = checkpoint(block, x_NTW, None, None, mask_TT, use_reentrant=False)
        else:
            x_NTW = block(x_NTW, attn_mask=mask_TT)
    return x_NTW


def _run_last_block(block: Any, x_NTW: torch.Tensor, position_N: torch.Tensor, mask_TT: torch.Tensor | None) -> torch.Tensor:
    """Output [N, W] of a residual attention block for one token of each text or image."""
    rows_N, normed_NTW = torch.arange(len(x_NTW), device=x_NTW.device), block.ln_1(x_NTW)
    asking_N1W = normed_NTW[rows_N, position_N].unsqueeze(1)
    mask = None if mask_TT is None else mask_TT[position_N].repeat_interleave(block.attn.num_heads, dim=0).unsqueeze(1)
    attended_N1W = block.attention(q_x=asking_N1W, k_x=normed_NTW, v_x=normed_NTW, attn_mask=mask)
    y_NW: torch.Tensor = x_NTW[rows_N, position_N] + block.ls_1(attended_N1W).squeeze(1)
    answer_NW: torch.Tensor = y_NW + block.ls_2(block.mlp(block.ln_2(y_NW)))
    return answer_NW
