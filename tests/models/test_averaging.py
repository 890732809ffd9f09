"""Averages of weights: along the path between two models, over models, and over steps."""

from __future__ import annotations

import copy

import pytest
import torch

from bioclip.errors import ModelError
from bioclip.models.averaging import (
    ALPHAS,
    MovingAverage,
    PathPoint,
    average_weights,
    best_alpha,
    interpolate_weights,
    layer_sharpness,
    measure_path,
)


def small_network(seed: int) -> torch.nn.Sequential:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2))


def test_the_ends_of_the_path_are_the_models_bit_for_bit() -> None:
    start, tuned = small_network(1).state_dict(), small_network(2).state_dict()
    for alpha, end in ((0, start), (1, tuned), (0.0, start), (1.0, tuned)):
        found = interpolate_weights(start, tuned, alpha)
        assert all(torch.equal(found[name], end[name]) for name in end)
        assert all(found[name].data_ptr() != end[name].data_ptr() for name in end)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_between_them_weights_are_mixed_and_rounded_once(dtype: torch.dtype) -> None:
    start, tuned = ({"w": torch.randn(100, generator=torch.Generator().manual_seed(seed)).to(dtype)} for seed in (1, 2))
    found = interpolate_weights(start, tuned, 0.3)["w"]
    assert found.dtype == dtype
    assert torch.equal(found, (0.7 * start["w"].double() + 0.3 * tuned["w"].double()).to(dtype))


def test_counts_are_those_of_the_tuned_model() -> None:
    start, tuned = ({"n": torch.tensor(number)} for number in (3, 8))
    assert interpolate_weights(start, tuned, 0.5)["n"].item() == 8


def test_the_mean_of_models_is_rounded_once() -> None:
    models = [small_network(seed).state_dict() for seed in range(3)]
    found = average_weights(models)
    expected = torch.stack([model["0.weight"].double() for model in models]).mean(dim=0).float()
    assert torch.allclose(found["0.weight"], expected, rtol=1e-6)
    assert all(torch.equal(average_weights(models[:1])[name], models[0][name]) for name in models[0])


@pytest.mark.parametrize("alpha", [-0.1, 1.5])
def test_a_share_outside_of_the_path_is_refused(alpha: float) -> None:
    with pytest.raises(ModelError, match="the share of the tuned model must be between 0 and 1"):
        interpolate_weights({}, {}, alpha)


def test_models_of_another_architecture_are_refused() -> None:
    one, other = small_network(1).state_dict(), torch.nn.Linear(4, 3).state_dict()
    with pytest.raises(ModelError, match=r"differ in '0.bias' \(\(3,\) and None\); average models of one architecture"):
        average_weights([one, other])
    with pytest.raises(ModelError, match="there is no model to average"):
        average_weights([])


def test_the_share_is_that_of_the_best_score_and_of_equal_ones_the_lowest() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    start, tuned = {"weight": torch.tensor([[0.0]])}, {"weight": torch.tensor([[1.0]])}
    points = measure_path(network, start, tuned, lambda: -((network.weight.item() - 0.62) ** 2))
    assert [point.alpha for point in points] == list(ALPHAS) == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]
    assert best_alpha(points) == 0.6
    assert best_alpha([PathPoint(0.2, 1.0), PathPoint(0.0, 1.0), PathPoint(1.0, 0.5)]) == 0.0
    assert best_alpha([PathPoint(0.2, 1.0), PathPoint(0.0, 1.0), PathPoint(1.0, 0.5)], "min") == 1.0


def test_a_moving_average_follows_the_network() -> None:
    network, decay = small_network(1), 0.3
    averaged, expected = MovingAverage(network, decay), network[0].weight.detach().clone()
    for step in range(6):
        with torch.no_grad():
            network[0].weight += step + 1
            network[1].running_mean += 1
        averaged.update(network)
        share = min(decay, (1 + step) / (10 + step))
        expected = share * expected + (1 - share) * network[0].weight.detach()
        assert torch.allclose(averaged.copy.get_parameter("0.weight"), expected, rtol=1e-6)
        assert torch.equal(averaged.copy.get_buffer("1.running_mean"), network[1].running_mean)
    assert not any(parameter.requires_grad for parameter in averaged.parameters())


def test_a_moving_average_continues_from_its_state() -> None:
    networks = [small_network(seed) for seed in range(6)]
    straight = MovingAverage(networks[0], 0.9)
    for network in networks[:3]:
        straight.update(network)
    state = copy.deepcopy(straight.state_dict())
    resumed = MovingAverage(small_network(9), 0.9)
    resumed.load_state_dict(state)
    for network in networks[3:]:
        straight.update(network)
        resumed.update(network)
    assert all(torch.equal(one, straight.state_dict()[name]) for name, one in resumed.state_dict().items())


def test_sharpness_is_the_rise_of_the_loss_along_each_layers_gradient() -> None:
    """For the loss (a x)^2 + b^2 / 2 of two layers, exact values follow from its derivatives."""
    network = torch.nn.ModuleDict({"one": torch.nn.Linear(1, 1, bias=False), "other": torch.nn.Linear(1, 1, bias=False)}).double()
    with torch.no_grad():
        network["one"].weight.fill_(2.0)
        network["other"].weight.fill_(-3.0)
    before = copy.deepcopy(network.state_dict())
    found = layer_sharpness(
        network, lambda: network.get_parameter("one.weight").square().sum() + network.get_parameter("other.weight").square().sum() / 2, 0.1
    )
    assert found == {"one": pytest.approx((2.1**2 - 2**2) / 0.1), "other": pytest.approx((3.1**2 - 3**2) / 2 / 0.1)}
    assert all(torch.equal(one, before[name]) for name, one in network.state_dict().items())


def test_sharpness_is_stated_by_block_and_is_zero_without_a_gradient() -> None:
    network = torch.nn.ModuleDict(
        {"blocks": torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)), "unused": torch.nn.Linear(1, 1)}
    )
    found = layer_sharpness(network, lambda: network["blocks"](torch.ones(1, 2)).square().sum())
    assert list(found) == ["blocks.0", "blocks.1", "unused"]
    assert found["unused"] == 0 < min(found["blocks.0"], found["blocks.1"])
