"""Operations of a step, against torch's counter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bioclip.models.clip import import_open_clip
from bioclip.models.hollow import hollow_network, image_px_of
from bioclip.settings import ModelSettings, TrainingSettings
from bioclip.training.recipes import load_recipe
from bioclip.training.step.flops import count_pair_flops, peak_flops
from bioclip.training.step.pair_encoder import PairEncoder
from tests.training.step.networks import CAPTIONS, small_model

ARCHITECTURES = {
    "demo-vit": TrainingSettings.model_validate(load_recipe("demo_cpu")).model,
    **{name: ModelSettings(name=name) for name in ("ViT-S-32", "ViT-B-16", "RN50", "convnext_base_w")},
}


def counted(network: torch.nn.Module, tokens: torch.Tensor) -> int:
    """Operations of forward and backward pass by torch's counter, which knows the products of attention only in their plain form."""
    hollow, side = network.to("meta").train(), image_px_of(network)
    images = torch.zeros(len(tokens), 3, side, side, device="meta", dtype=next(hollow.parameters()).dtype)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        image_features, rows, _, _ = PairEncoder(hollow)(images, (tokens.to("meta"),))
        (image_features.sum() + rows.sum()).backward()
    return int(counter.get_total_flops())


@pytest.mark.parametrize("length", [16, 77])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_they_are_those_that_torch_counts(name: str, length: int) -> None:
    network = hollow_network(ARCHITECTURES[name])
    context = int(network.context_length)
    tokens = import_open_clip().get_tokenizer("ViT-B-16", context_length=context)(["a photo of Parus major", "oak"])[:, :length]
    flops = count_pair_flops(network, image_px_of(network), context)
    assert flops.of_step(2, (tokens,)) == pytest.approx(counted(network, tokens), rel=0.01)


@pytest.mark.parametrize("changes", [{"text": {"no_causal_mask": True}}, {"vision": {"pool_type": "avg"}}])
def test_towers_without_a_formula_are_counted(changes: dict[str, Any]) -> None:
    model = small_model(**changes)
    tokens = model.tokenizer(CAPTIONS)
    assert count_pair_flops(model.network, 32, 40).of_step(8, (tokens,)) == pytest.approx(counted(model.network, tokens), rel=0.01)


def test_a_peak_is_known_by_the_name_of_the_device() -> None:
    assert peak_flops("NVIDIA H100 PCIe", "bf16") == 756e12
    assert peak_flops("NVIDIA H100 80GB HBM3", "tf32") == 494.5e12
    assert peak_flops("NVIDIA H100 80GB HBM3", "fp32") is None
    assert peak_flops("cpu", "bf16") is None
