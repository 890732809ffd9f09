"""Training a part of a network: what changes, what does not, and that the saved model is a plain one."""

from __future__ import annotations

import copy

import pytest
import torch

from bioclip.errors import ModelError
from bioclip.models.adaptation import merge_adaptation, restrict_training, tower_of
from bioclip.models.clip import ClipModel, create_model
from bioclip.settings import AdaptationSettings, ModelSettings

VIT = ModelSettings(
    name="tiny-vit",
    architecture={
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 32, "layers": 2, "head_width": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    },
)
TIMM = ModelSettings(
    name="tiny-timm",
    architecture={
        "embed_dim": 16,
        "vision_cfg": {"timm_model_name": "vit_tiny_patch16_224", "timm_pool": "", "timm_proj": "linear", "image_size": 224},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    },
)


def loss_of(model: ClipModel) -> torch.Tensor:
    torch.manual_seed(5)
    images, texts, scale, *_ = model.network(torch.randn(4, 3, model.image_px, model.image_px), model.tokenizer(["a", "b", "c d", "e"]))
    return torch.nn.functional.cross_entropy(scale * images @ texts.T, torch.arange(4))


def trained_names(model: ClipModel, settings: AdaptationSettings) -> set[str]:
    """Parameters that three steps of a large rate change."""
    restrict_training(model.network, settings, seed=1)
    before = {name: value.clone() for name, value in model.network.named_parameters()}
    optimizer = torch.optim.SGD([one for one in model.network.parameters() if one.requires_grad], lr=10.0)
    for _ in range(3):
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()
    return {name for name, value in model.network.named_parameters() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("architecture", [VIT, pytest.param(TIMM, marks=pytest.mark.slow)], ids=["open_clip", "timm"])
def test_a_projection_alone_is_trained(architecture: ModelSettings) -> None:
    changed = trained_names(create_model(architecture, 0), AdaptationSettings(image="projection", text="none"))
    image = {"visual.proj"} if architecture is VIT else {"visual.head.proj.weight"}
    assert changed == image | {"logit_scale"}


@pytest.mark.parametrize("architecture", [VIT, pytest.param(TIMM, marks=pytest.mark.slow)], ids=["open_clip", "timm"])
def test_low_rank_updates_start_at_the_given_model_and_change_queries_and_values_only(architecture: ModelSettings) -> None:
    model, start = create_model(architecture, 0), create_model(architecture, 0)
    settings = AdaptationSettings(image="lora", text="lora", lora_rank=2)
    restrict_training(model.network, settings, seed=1)
    assert torch.equal(loss_of(model), loss_of(start)), "B is zero at the start"
    changed = trained_names(create_model(architecture, 0), settings)
    assert all(name.endswith((".down", ".up")) or name == "logit_scale" for name in changed)
    assert {tower_of(name) for name in changed} == {"image", "text", None}

    for name, parameter in model.network.named_parameters():
        if name.endswith(".up"):
            torch.nn.init.normal_(parameter)
    expected = loss_of(model)
    merge_adaptation(model.network)
    assert torch.allclose(loss_of(model), expected, atol=1e-6)
    merged, plain = model.network.state_dict(), start.network.state_dict()
    assert merged.keys() == plain.keys(), "the merged network is a plain one"
    different = {name for name in plain if not torch.equal(merged[name], plain[name])}
    assert different
    for name in different:
        queries, keys, values = (merged[name] - plain[name]).chunk(3)
        assert not keys.any(), "keys stay as they were"
        assert torch.linalg.matrix_rank(queries) == torch.linalg.matrix_rank(values) == 2


def test_all_parameters_are_trained_by_default_and_nothing_is_added() -> None:
    model = create_model(VIT, 0)
    names = [name for name, _ in model.network.named_parameters()]
    restrict_training(model.network, AdaptationSettings(), seed=1)
    merge_adaptation(model.network)
    assert [name for name, parameter in model.network.named_parameters() if parameter.requires_grad] == names


def test_the_seed_decides_the_updates() -> None:
    def downs(seed: int) -> list[torch.Tensor]:
        model = create_model(VIT, 0)
        restrict_training(model.network, AdaptationSettings(image="lora", text="none"), seed)
        return [value for name, value in model.network.named_parameters() if name.endswith(".down")]

    assert all(torch.equal(*pair) for pair in zip(downs(1), downs(1), strict=True))
    assert not any(torch.equal(*pair) for pair in zip(downs(1), downs(2), strict=True))


def test_a_tower_without_what_is_asked_for_is_refused() -> None:
    architecture = copy.deepcopy(VIT.architecture)
    architecture["vision_cfg"] = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16}
    model = create_model(ModelSettings(name="tiny-resnet", architecture=architecture), 0)
    network = copy.deepcopy(model.network)
    del network.visual.attnpool
    with pytest.raises(ModelError, match=r"training.adaptation.image: this tower has no attention with queries and values"):
        restrict_training(network, AdaptationSettings(image="lora"), seed=1)
    model.network.text_projection = None
    with pytest.raises(ModelError, match=r"training.adaptation.text: this tower has no projection; choose lora, all or none"):
        restrict_training(model.network, AdaptationSettings(text="projection"), seed=1)
