"""Training a part of a network: its projections only, or low-rank updates of its attention (LoRA: Hu et al. 2022, arXiv 2106.09685).

LoRA replaces a frozen weight W [O, I] of the queries and values by W + (alpha / r) B A, with A [r, I] random and B [O, r] zero at the
start, so training starts at the given model. `merge_adaptation` adds the updates to the weights, after which the network is a plain
open_clip network again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import torch
from torch.nn.utils import parametrize

from bioclip.digests import digest_value
from bioclip.errors import ModelError
from bioclip.settings import AdaptationSettings

Tower = Literal["image", "text"]
_SHARED = re.compile(r"(.*\.)?logit_(scale|bias)")
_PROJECTION = re.compile(r"(visual\.)?(proj|head\..+|attnpool\.c_proj\..+)|(text\.)?(text_projection|proj)(\..+)?")
"""Last layer of a tower, which maps its features to the common space, in open_clip's own, timm's and Hugging Face's towers."""
_QUERY_OR_VALUE = re.compile(r"(query|value|q_proj|v_proj|q_lin|v_lin|q|v)")


class LowRankUpdate(torch.nn.Module):
    """W -> W + (alpha / r) B A in each of `parts` of the `num_parts` equal blocks of rows of W [num_parts * O, I]."""

    def __init__(self, weight: torch.Tensor, rank: int, alpha: float, parts: tuple[int, ...], num_parts: int) -> None:
        super().__init__()
        rows, columns = weight.shape[0] // num_parts, weight.shape[1]
        self.parts, self.num_parts, self.factor = parts, num_parts, alpha / rank
        down = torch.empty(len(parts), rank, columns, dtype=weight.dtype)
        torch.nn.init.normal_(down, std=columns**-0.5)
        self.down = torch.nn.Parameter(down.to(weight.device))
        self.up = torch.nn.Parameter(torch.zeros(len(parts), rows, rank, dtype=weight.dtype, device=weight.device))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The updated weight."""
        updates = self.factor * (self.up @ self.down)
        blocks = list(weight.chunk(self.num_parts))
        for place, part in enumerate(self.parts):
            blocks[part] = blocks[part] + updates[place]
        return torch.cat(blocks)


def restrict_training(network: torch.nn.Module, settings: AdaptationSettings, seed: int) -> None:
    """Leave in `network` only the parameters trainable that `settings` name; the logit scale and bias always are.

    `seed` decides the initial A of LoRA. Raises ModelError for a tower without a projection or without an attention that LoRA knows.
    """
    if settings.image == settings.text == "all":
        return
    choices: dict[Tower, str] = {"image": settings.image, "text": settings.text}
    names = [name for name, _ in network.named_parameters()]
    for tower, choice in choices.items():
        inside = [name for name in names if tower_of(name) == tower]
        trained = {"all": inside, "projection": [name for name in inside if _PROJECTION.fullmatch(name)]}.get(choice, [])
        if choice == "projection" and not trained:
            raise ModelError(f"training.adaptation.{tower}: this tower has no projection; choose lora, all or none.")
        for name in inside:
            network.get_parameter(name).requires_grad_(name in trained)
        if choice == "lora":
            _add_low_rank(network, tower, settings, seed)


def merge_adaptation(network: torch.nn.Module) -> None:
    """Add every low-rank update to its weight."""
    for module in list(network.modules()):
        if parametrize.is_parametrized(module):
            for name in list(module.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)


def tower_of(name: str) -> Tower | None:
    """The tower of a parameter of an open_clip network by its name; None for logit scale and bias."""
    if _SHARED.fullmatch(name):
        return None
    return "image" if name.startswith("visual.") else "text"


def _add_low_rank(network: torch.nn.Module, tower: Tower, settings: AdaptationSettings, seed: int) -> None:
    found = 0
    for path, module in list(network.named_modules()):
        for name, parts, num_parts in _attention_weights(path, module):
            if tower_of(f"{path}.{name}") != tower:
                continue
            found += 1
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(digest_value(["lora", seed, path, name])[:15], 16))
                update = LowRankUpdate(getattr(module, name), settings.lora_rank, settings.lora_alpha, parts, num_parts)
            parametrize.register_parametrization(module, name, update)
    if not found:
        raise ModelError(f"training.adaptation.{tower}: this tower has no attention with queries and values; choose projection or all.")


def _attention_weights(path: str, module: torch.nn.Module) -> Iterator[tuple[str, tuple[int, ...], int]]:
    """(parameter, blocks of queries and values, number of blocks) of an attention layer, whose rows are queries, keys, values."""
    if isinstance(getattr(module, "in_proj_weight", None), torch.nn.Parameter):
        yield "in_proj_weight", (0, 2), 3
    elif isinstance(module, torch.nn.Linear):
        last = path.rsplit(".", 1)[-1]
        if last in {"qkv", "Wqkv"} and module.out_features == 3 * module.in_features:
            yield "weight", (0, 2), 3
        elif _QUERY_OR_VALUE.fullmatch(last):
            yield "weight", (0,), 1
